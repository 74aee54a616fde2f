variable "domain" {
  description = "The domain that the site is served under."
  type        = string
}

variable "pages" {
  description = "The pages, by the name of their file."
  type = map(object({
    title = string
    text  = string
  }))

  validation {
    condition     = contains(keys(var.pages), "index")
    error_message = "A site has a page named index."
  }
}
