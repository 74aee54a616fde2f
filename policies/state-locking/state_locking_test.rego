package state_locking_test

import data.state_locking

found(type, settings) := result if {
	result := state_locking.deny with input.mainstay as {"backend": {"type": type, "settings": settings}}
}

test_s3_without_a_lock_is_denied if {
	found("s3", {"bucket": "b"}) == {"the backend s3 locks nothing: none of use_lockfile, dynamodb_table is set"}
	count(found("s3", {"use_lockfile": false, "dynamodb_table": ""})) == 1
}

test_s3_with_a_lock_passes if {
	count(found("s3", {"use_lockfile": true})) == 0
	count(found("s3", {"dynamodb_table": "locks"})) == 0
}

test_http_needs_an_address if {
	count(found("http", {})) == 1
	count(found("http", {"lock_address": "https://example.com/lock"})) == 0
}

test_a_file_beside_the_configuration_is_denied if found("local", {}) == {"the backend local has no lock"}

test_backends_that_lock_by_themselves_pass if {
	count(found("gcs", {})) == 0
	count(found("azurerm", {})) == 0
}

test_the_state_that_mainstay_keeps_passes if count(state_locking.deny) == 0 with input.mainstay as {"backend": null}
