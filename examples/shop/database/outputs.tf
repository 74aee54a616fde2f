output "server" {
  description = "The server's id."
  value       = localfs_file.server.id
}

output "access_token" {
  description = "The key that programs reach the database with."
  value       = localfs_file.server.token
  sensitive   = true
}
