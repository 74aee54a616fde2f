# The shop's web site.

module "site" {
  source = "../modules/site"

  domain = var.domain
  pages = {
    index = {
      title = "The little tea shop"
      text  = "Green tea, black tea, and since this week tea from our own garden."
    }
    contact = {
      title = "Where to find us"
      text  = "Harbour Street 7, every day but Monday."
    }
    garden = {
      title = "Our garden"
      text  = "Forty bushes on the roof, and room for more."
    }
  }
}
