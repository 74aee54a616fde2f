# The shop's private network: one range of addresses, cut into subnets.

resource "localfs_file" "vpc" {
  path = "network/vpc.json"
  content = jsonencode({
    name        = "shop-${var.environment}"
    environment = var.environment
    cidr        = var.cidr
  })
}

# As with most clouds, a subnet's range cannot be changed: it is part of the
# file's name here, so that another range is another file.
resource "localfs_file" "subnet" {
  for_each = var.subnets

  path = "network/subnets/${each.key}-${replace(each.value, "/", "-")}.json"
  content = jsonencode({
    name = each.key
    cidr = each.value
    vpc  = localfs_file.vpc.id
  })
}
