# The shop's database server.

resource "localfs_file" "server" {
  path = "database/server.json"
  content = jsonencode({
    engine     = "postgres"
    version    = var.engine_version
    storage_gb = var.storage_gb
  })

  # It goes into the state, and into no plan, comment or log.
  secret = var.admin_password
}
