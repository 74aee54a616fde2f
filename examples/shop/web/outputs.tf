output "urls" {
  description = "Addresses of the pages, by name."
  value       = module.site.urls
}
