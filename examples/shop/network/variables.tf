variable "environment" {
  description = "Which copy of the shop this is."
  type        = string
  default     = "staging"

  validation {
    condition     = contains(["staging", "production"], var.environment)
    error_message = "The environment is staging or production."
  }
}

variable "cidr" {
  description = "The range of addresses of the whole network."
  type        = string
  default     = "10.20.0.0/16"

  validation {
    condition     = can(cidrnetmask(var.cidr))
    error_message = "The range is written like 10.20.0.0/16."
  }
}

variable "subnets" {
  description = "Ranges of addresses, by the subnet's name."
  type        = map(string)

  validation {
    condition     = alltrue([for range in values(var.subnets) : can(cidrnetmask(range))])
    error_message = "Each range is written like 10.20.1.0/24."
  }
}
