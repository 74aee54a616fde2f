package public_ingress_test

import data.public_ingress

found(type, after) := {finding.msg | some finding in result} if {
	result := public_ingress.deny with input.resource_changes as [{
		"address": "x.y",
		"mode": "managed",
		"type": type,
		"change": {"actions": ["update"], "after": after, "after_unknown": {}},
	}]
}

ingress(from, to, protocol, cidr) := {"ingress": [{
	"cidr_blocks": [cidr],
	"ipv6_cidr_blocks": [],
	"from_port": from,
	"to_port": to,
	"protocol": protocol,
}]}

test_ssh_from_everywhere_is_denied if {
	found("aws_security_group", ingress(22, 22, "tcp", "0.0.0.0/0")) == {"x.y opens port 22 to the internet"}
}

test_the_web_may_be_public if count(found("aws_security_group", ingress(443, 443, "tcp", "0.0.0.0/0"))) == 0

test_a_range_with_the_web_in_it_is_denied if {
	found("aws_security_group", ingress(0, 65535, "tcp", "0.0.0.0/0")) == {"x.y opens ports 0 to 65535 to the internet"}
}

test_every_protocol_is_every_port if {
	found("aws_security_group", ingress(0, 0, "-1", "0.0.0.0/0")) == {"x.y opens every port to the internet"}
}

test_a_network_of_ours_passes if count(found("aws_security_group", ingress(22, 22, "tcp", "10.0.0.0/8"))) == 0

test_a_rule_of_aws_counts if {
	rule := {"type": "ingress", "cidr_blocks": null, "ipv6_cidr_blocks": ["::/0"], "from_port": 22, "to_port": 22, "protocol": "tcp"}
	count(found("aws_security_group_rule", rule)) == 1
	count(found("aws_security_group_rule", object.union(rule, {"type": "egress"}))) == 0
}

test_the_newer_rule_of_aws_counts if {
	rule := {"cidr_ipv4": "0.0.0.0/0", "cidr_ipv6": null, "from_port": 5432, "to_port": 5432, "ip_protocol": "tcp"}
	found("aws_vpc_security_group_ingress_rule", rule) == {"x.y opens port 5432 to the internet"}
}

azure := {
	"direction": "Inbound",
	"access": "Allow",
	"source_address_prefix": "*",
	"source_address_prefixes": null,
	"destination_port_range": "3389",
	"destination_port_ranges": null,
}

test_a_rule_of_azure_counts if {
	found("azurerm_network_security_rule", azure) == {"x.y opens port 3389 to the internet"}
	count(found("azurerm_network_security_rule", object.union(azure, {"access": "Deny"}))) == 0
	count(found("azurerm_network_security_rule", object.union(azure, {"source_address_prefix": "VirtualNetwork"}))) == 0
}

test_rules_inside_a_group_of_azure_count if {
	group := {"security_rule": [object.union(azure, {"destination_port_range": "*"})]}
	found("azurerm_network_security_group", group) == {"x.y opens every port to the internet"}
}

google := {
	"direction": "INGRESS",
	"disabled": false,
	"source_ranges": ["0.0.0.0/0"],
	"allow": [{"protocol": "tcp", "ports": ["8000-8010"]}],
}

test_a_firewall_of_google_counts if {
	found("google_compute_firewall", google) == {"x.y opens ports 8000 to 8010 to the internet"}
	found("google_compute_firewall", object.union(google, {"allow": [{"protocol": "all", "ports": []}]})) == {"x.y opens every port to the internet"}
	count(found("google_compute_firewall", object.union(google, {"disabled": true}))) == 0
	count(found("google_compute_firewall", object.union(google, {"allow": [{"protocol": "tcp", "ports": ["443"]}]}))) == 0
}

test_what_opens_nothing_passes if count(found("aws_instance", {"ami": "x"})) == 0
