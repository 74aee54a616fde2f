variable "engine_version" {
  description = "The major version of PostgreSQL."
  type        = number
  default     = 17

  validation {
    condition     = var.engine_version >= 14 && floor(var.engine_version) == var.engine_version
    error_message = "The version is a whole number, 14 or later."
  }
}

variable "storage_gb" {
  description = "The size of the disk, in gigabytes."
  type        = number
  default     = 20

  validation {
    condition     = var.storage_gb >= 10 && var.storage_gb <= 1000
    error_message = "The disk has 10 to 1000 gigabytes."
  }
}

# Where something real is at stake there is no default: the daemon's environment
# has the value as TF_VAR_admin_password, or the provider fetches it from a vault.
variable "admin_password" {
  description = "The password of the database's administrator."
  type        = string
  default     = "correct-horse-battery-staple"
  sensitive   = true

  validation {
    condition     = length(var.admin_password) >= 12
    error_message = "The password has 12 characters at least."
  }
}
