subnets = {
  frontend = "10.20.1.0/24"
  backend  = "10.20.2.0/24"
}
