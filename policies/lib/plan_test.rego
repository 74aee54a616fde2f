package lib.plan_test

import data.lib.plan

resources := [
	{"address": "a", "mode": "managed", "change": {"actions": ["create"], "after_unknown": {"id": true, "tags": {}}}},
	{"address": "b", "mode": "managed", "change": {"actions": ["delete", "create"]}},
	{"address": "c", "mode": "managed", "change": {"actions": ["no-op"]}},
	{"address": "d", "mode": "managed", "change": {"actions": ["update"]}},
	{"address": "e", "mode": "managed", "change": {"actions": ["delete"]}},
	{"address": "f", "mode": "data", "change": {"actions": ["read"]}},
	{"address": "g", "mode": "managed", "change": {"actions": ["read"]}},
]

addresses(list) := [resource.address | some resource in list]

test_what_is_written_and_what_is_lost if {
	addresses(plan.written) == ["a", "b", "d"] with input.resource_changes as resources
	addresses(plan.lost) == ["b", "e"] with input.resource_changes as resources
	addresses(plan.changed) == ["a", "b", "d", "e"] with input.resource_changes as resources
	addresses(plan.existing) == ["b", "c", "d", "e", "g"] with input.resource_changes as resources
}

test_only_what_is_wholly_unknown_is_unknown if {
	plan.unknown(resources[0], "id")
	not plan.unknown(resources[0], "tags")
	not plan.unknown(resources[1], "id")
}

test_a_fate_has_a_word if {
	plan.fate(resources[1]) == "replaced"
	plan.fate(resources[4]) == "destroyed"
}

test_a_block_is_found_in_its_list if {
	plan.block([{"a": 1}]) == {"a": 1}
	plan.block({"a": 1}) == {"a": 1}
}

test_an_empty_plan_has_nothing if {
	plan.written == [] with input as {}
	plan.lost == [] with input as {}
}
