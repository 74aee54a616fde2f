# METADATA
# title: The state is locked while it is written
# description: >-
#   Two applies at once on a state without a lock leave it with half of each.
# custom:
#   remedy: >-
#     For `s3` set `use_lockfile = true` or `dynamodb_table`, for `http` a `lock_address`, or use a backend that
#     locks by itself: `azurerm`, `gcs`, `pg`, `consul`, or none, where Mainstay keeps the state.
#   owners: ["*"]
package state_locking

deny contains msg if {
	backend := input.mainstay.backend
	backend.type in data.backends_without_a_lock
	msg := sprintf("the backend %s has no lock", [backend.type])
}

deny contains msg if {
	backend := input.mainstay.backend
	some settings in [data.locked_by[backend.type]]
	set := [name | some name in settings; is_set(backend.settings[name])]
	count(set) == 0
	msg := sprintf("the backend %s locks nothing: none of %s is set", [backend.type, concat(", ", settings)])
}

is_set(value) if value == true

is_set(value) if {
	is_string(value)
	not value in {"", "false"}
}
