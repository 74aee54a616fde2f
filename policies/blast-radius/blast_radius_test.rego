package blast_radius_test

import data.blast_radius

resources(actions, count) := [resource |
	some n in numbers.range(1, count)
	resource := {"address": sprintf("x.%v[%d]", [actions, n]), "mode": "managed", "type": "x", "change": {"actions": actions}}
]

test_many_lost_resources_are_denied if {
	some msg in blast_radius.deny with input.resource_changes as resources(["delete"], 11)
	contains(msg, "11 resources")
}

test_ten_of_many_pass if {
	plan := array.concat(resources(["delete", "create"], 10), resources(["no-op"], 100))
	count(blast_radius.deny) == 0 with input.resource_changes as plan
}

test_a_great_part_of_the_state_is_denied if {
	plan := array.concat(resources(["delete"], 4), resources(["no-op"], 8))
	some msg in blast_radius.deny with input.resource_changes as plan
	contains(msg, "4 of 12")
}

test_a_small_state_may_be_destroyed if count(blast_radius.deny) == 0 with input.resource_changes as resources(["delete"], 3)

test_many_changes_are_worth_a_word if {
	count(blast_radius.warn) == 1 with input.resource_changes as resources(["create"], 101)
	count(blast_radius.deny) == 0 with input.resource_changes as resources(["create"], 101)
}

test_the_limits_are_data if {
	count(blast_radius.deny) == 1 with input.resource_changes as resources(["delete"], 2) with data.most_lost as 1
}
