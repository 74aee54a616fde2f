package required_tags_test

import data.required_tags

found(type, after, unknown) := result if {
	result := required_tags.deny with input.resource_changes as [{
		"address": concat(".", [type, "x"]),
		"mode": "managed",
		"type": type,
		"change": {"actions": ["create"], "after": after, "after_unknown": unknown},
	}]
}

complete := {"owner": "team", "cost_center": "7"}

test_a_missing_tag_is_named if {
	some finding in found("aws_instance", {"tags": {"owner": "team"}, "tags_all": {"owner": "team"}}, {})
	finding.msg == "aws_instance.x has no cost_center"
}

test_no_tags_at_all_are_denied if count(found("azurerm_resource_group", {"tags": null}, {})) == 1

test_an_empty_tag_is_none if count(found("google_storage_bucket", {"labels": {"owner": "", "cost_center": "7"}}, {})) == 1

test_all_tags_pass if count(found("aws_instance", {"tags": complete}, {})) == 0

test_default_tags_of_the_provider_count if count(found("aws_instance", {"tags": null, "tags_all": complete}, {})) == 0

test_default_labels_of_google_count if count(found("google_storage_bucket", {"labels": null, "effective_labels": complete}, {})) == 0

test_what_is_known_later_is_not_missed if count(found("aws_instance", {"tags": {"owner": "a"}}, {"tags": {"cost_center": true}})) == 0

test_tags_that_are_known_later_are_not_missed if count(found("aws_instance", {"tags": {}}, {"tags": true})) == 0

test_what_cannot_have_tags_passes if count(found("aws_iam_role_policy", {"policy": "{}"}, {})) == 0

test_a_type_may_be_left_out if count(found("aws_autoscaling_group", {"tags": {}}, {})) == 0
