# METADATA
# title: What is stored and sent is encrypted
# description: >-
#   A disk, a snapshot or a connection that is not encrypted is read by whoever gets hold of it.
# custom:
#   remedy: >-
#     Set the argument that the message names.
#   owners: ["*"]
package encryption

import data.lib.plan

deny contains finding if {
	some resource in plan.written
	some attribute in data.must_be_on[resource.type]
	not on(resource, attribute)
	finding := {
		"msg": sprintf("%s: %s is not on", [resource.address, attribute]),
		"address": resource.address,
	}
}

deny contains finding if {
	some resource in plan.written
	some rule in data.must_not_be[resource.type]
	value := at(resource.change.after, rule.path)
	value in rule.values
	finding := {
		"msg": sprintf("%s: %s is %v", [resource.address, concat(".", rule.path), value]),
		"address": resource.address,
	}
}

on(resource, attribute) if resource.change.after[attribute] in {true, "true"}

on(resource, attribute) if plan.unknown(resource, attribute)

# The value at a path, through blocks that providers write as lists of one.
at(value, path) := value[path[0]] if count(path) == 1

at(value, path) := plan.block(value[path[0]])[path[1]] if count(path) == 2

at(value, path) := plan.block(plan.block(value[path[0]])[path[1]])[path[2]] if count(path) == 3
