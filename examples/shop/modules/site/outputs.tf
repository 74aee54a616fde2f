output "urls" {
  description = "Addresses of the pages, by name."
  value       = { for name in keys(localfs_file.page) : name => "https://${var.domain}/${name}.html" }
}
