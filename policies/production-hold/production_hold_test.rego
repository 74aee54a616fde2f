package production_hold_test

import data.production_hold

plan(environment, action) := {
	"mainstay": {"environment": environment},
	"resource_changes": [{"address": "a.b", "mode": "managed", "type": "a", "change": {"actions": [action]}}],
}

test_a_change_of_production_waits if {
	some msg in production_hold.hold with input as plan("production", "update")
	msg == "changes in production: 1"
}

test_a_change_of_staging_goes_on if count(production_hold.hold) == 0 with input as plan("staging", "update")

test_a_workspace_without_an_environment_goes_on if count(production_hold.hold) == 0 with input as plan(null, "update")

test_nothing_to_change_waits_for_nobody if count(production_hold.hold) == 0 with input as plan("production", "no-op")
