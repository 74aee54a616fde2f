terraform {
  required_version = ">= 1.5"

  required_providers {
    localfs = {
      source = "mainstay.invalid/demo/localfs"
    }
  }
}
