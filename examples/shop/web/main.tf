# The shop's web site.

module "site" {
  source = "../modules/site"

  domain = var.domain
  pages = {
    index = {
      title = "The little tea shop"
      text  = "Green tea, black tea, and everything between."
    }
    contact = {
      title = "Where to find us"
      text  = "Harbour Street 7, every day but Monday."
    }
    jobs = {
      title = "Work with us"
      text  = "We look for somebody who knows oolong."
    }
  }
}
