output "vpc" {
  description = "The network's id."
  value       = localfs_file.vpc.id
}

output "subnets" {
  description = "Ids of the subnets, by name."
  value       = { for name, subnet in localfs_file.subnet : name => subnet.id }
}
