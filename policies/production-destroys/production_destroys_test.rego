package production_destroys_test

import data.production_destroys

plan(environment, actions) := {
	"mainstay": {"environment": environment},
	"resource_changes": [{"address": "a.b", "mode": "managed", "type": "a", "change": {"actions": actions}}],
}

test_a_destroy_in_production_needs_two if {
	some finding in production_destroys.require with input as plan("production", ["delete"])
	finding.approvals == 2
}

test_a_replacement_counts if count(production_destroys.require) == 1 with input as plan("prod", ["create", "delete"])

test_a_change_in_place_needs_nobody if count(production_destroys.require) == 0 with input as plan("production", ["update"])

test_staging_may_lose_things if count(production_destroys.require) == 0 with input as plan("staging", ["delete"])
