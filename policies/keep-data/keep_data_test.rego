package keep_data_test

import data.keep_data

resource(type, actions) := {
	"address": concat(".", [type, "main"]),
	"mode": "managed",
	"type": type,
	"name": "main",
	"change": {"actions": actions, "before": {"id": "x"}, "after": null, "after_unknown": {}},
}

found(resources) := result if {
	result := keep_data.deny with input.resource_changes as resources
}

test_a_database_that_is_destroyed_is_denied if {
	some finding in found([resource("aws_db_instance", ["delete"])])
	finding.address == "aws_db_instance.main"
	contains(finding.msg, "destroyed")
}

test_a_bucket_that_is_replaced_is_denied if {
	some finding in found([resource("google_storage_bucket", ["delete", "create"])])
	contains(finding.msg, "replaced")
}

test_a_storage_account_of_azure_counts if count(found([resource("azurerm_storage_account", ["create", "delete"])])) == 1

test_a_database_that_changes_in_place_passes if count(found([resource("aws_db_instance", ["update"])])) == 0

test_what_leaves_the_state_and_stays_in_the_world_passes if count(found([resource("aws_db_instance", ["forget"])])) == 0

test_what_holds_no_data_passes if count(found([resource("aws_route", ["delete"])])) == 0

test_a_named_resource_may_be_lost if {
	result := keep_data.deny with input.resource_changes as [resource("aws_s3_bucket", ["delete"])]
		with data.data_may_be_lost as ["aws_s3_bucket.main"]
	count(result) == 0
}
