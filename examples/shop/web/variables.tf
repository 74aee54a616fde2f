variable "domain" {
  description = "The domain that the site is served under."
  type        = string
  default     = "tea.example"

  validation {
    condition     = can(regex("^[a-z0-9-]+(\\.[a-z0-9-]+)+$", var.domain))
    error_message = "The domain is written like tea.example, in lower case."
  }
}
