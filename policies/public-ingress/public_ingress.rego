# METADATA
# title: Nothing but the web is open to the internet
# description: >-
#   A port that the whole internet reaches is tried by the whole internet within minutes.
# custom:
#   remedy: >-
#     Name the networks that need it, put it behind a load balancer or a bastion, or add the port to
#     `public_ports`.
#   owners: ["*"]
package public_ingress

import data.lib.plan

everywhere := {"0.0.0.0/0", "::/0", "*", "Internet", "Any", "any"}

deny contains finding if {
	some resource in plan.written
	some opening in openings(resource)
	not allowed(opening)
	finding := {
		"msg": sprintf("%s opens %s to the internet", [resource.address, opening.ports]),
		"address": resource.address,
	}
}

# One port that is meant to be public.
allowed(opening) if {
	opening.from == opening.to
	opening.from in data.public_ports
}

openings(resource) := [opening |
	some rule in rules(resource)
	some source in rule.sources
	source in everywhere
	opening := {"from": rule.from, "to": rule.to, "ports": ports(rule)}
]

ports(rule) := sprintf("port %v", [rule.from]) if {
	rule.from == rule.to
	rule.from != "all"
}

ports(rule) := "every port" if rule.from == "all"

ports(rule) := sprintf("ports %v to %v", [rule.from, rule.to]) if rule.from != rule.to

default rules(_) := []

rules(resource) := [aws(rule, list(rule, "cidr_blocks"), list(rule, "ipv6_cidr_blocks"), "protocol") |
	some rule in resource.change.after.ingress
] if resource.type in {"aws_security_group", "aws_default_security_group"}

rules(resource) := [aws(rule, list(rule, "cidr_blocks"), list(rule, "ipv6_cidr_blocks"), "protocol")] if {
	resource.type == "aws_security_group_rule"
	rule := resource.change.after
	rule.type == "ingress"
}

rules(resource) := [aws(rule, [object.get(rule, "cidr_ipv4", null)], [object.get(rule, "cidr_ipv6", null)], "ip_protocol")] if {
	resource.type == "aws_vpc_security_group_ingress_rule"
	rule := resource.change.after
}

rules(resource) := [azure(rule, port) |
	rule := resource.change.after
	lets_in(rule)
	some port in destinations(rule)
] if resource.type == "azurerm_network_security_rule"

rules(resource) := [azure(rule, port) |
	some rule in resource.change.after.security_rule
	lets_in(rule)
	some port in destinations(rule)
] if resource.type == "azurerm_network_security_group"

rules(resource) := [google(resource.change.after, port) |
	firewall := resource.change.after
	object.get(firewall, "direction", "INGRESS") != "EGRESS"
	object.get(firewall, "disabled", false) != true
	some allow in firewall.allow
	some port in google_ports(allow)
] if resource.type == "google_compute_firewall"

aws(rule, four, six, protocol) := {"sources": array.concat(four, six), "from": "all", "to": "all"} if rule[protocol] in {"-1", "all"}

aws(rule, four, six, protocol) := {"sources": array.concat(four, six), "from": rule.from_port, "to": rule.to_port} if {
	not rule[protocol] in {"-1", "all"}
}

# A list that may be null.
list(rule, name) := rule[name] if is_array(rule[name])

list(rule, name) := [] if not is_array(rule[name])

lets_in(rule) if {
	lower(rule.direction) == "inbound"
	lower(rule.access) == "allow"
}

destinations(rule) := array.concat(
	[port | port := rule.destination_port_range; is_string(port); port != ""],
	list(rule, "destination_port_ranges"),
)

azure(rule, port) := {"sources": sources, "from": range.from, "to": range.to} if {
	range := parsed(port)
	sources := array.concat(
		[source | source := rule.source_address_prefix; is_string(source)],
		list(rule, "source_address_prefixes"),
	)
}

google_ports(allow) := allow.ports if count(list(allow, "ports")) > 0

google_ports(allow) := ["*"] if count(list(allow, "ports")) == 0

google(firewall, port) := {"sources": sources, "from": range.from, "to": range.to} if {
	range := parsed(port)
	sources := list(firewall, "source_ranges")
}

parsed(port) := {"from": "all", "to": "all"} if port == "*"

parsed(port) := {"from": to_number(port), "to": to_number(port)} if regex.match(`^[0-9]+$`, port)

parsed(port) := {"from": to_number(ends[0]), "to": to_number(ends[1])} if {
	regex.match(`^[0-9]+-[0-9]+$`, port)
	ends := split(port, "-")
}
