package wildcard_permissions_test

import data.wildcard_permissions

found(type, after) := {finding.msg | some finding in result} if {
	result := wildcard_permissions.deny with input.resource_changes as [{
		"address": "x.y",
		"mode": "managed",
		"type": type,
		"change": {"actions": ["create"], "after": after, "after_unknown": {}},
	}]
}

policy(statement) := {"policy": json.marshal({"Version": "2012-10-17", "Statement": statement})}

test_every_action_is_denied if {
	all := policy([{"Effect": "Allow", "Action": "*", "Resource": "*"}])
	found("aws_iam_policy", all) == {"x.y allows every action"}
}

test_a_statement_and_an_action_may_stand_alone if {
	one := policy({"Effect": "Allow", "Action": ["s3:Get*", "*"], "Resource": "*"})
	found("aws_iam_role_policy", one) == {"x.y allows every action"}
}

test_what_denies_everything_passes if count(found("aws_iam_policy", policy([{"Effect": "Deny", "Action": "*", "Resource": "*"}]))) == 0

test_named_actions_pass if count(found("aws_iam_policy", policy([{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]))) == 0

test_a_policy_that_is_known_later_passes if count(found("aws_iam_policy", {"name": "x"})) == 0

test_a_role_that_everybody_takes_is_denied if {
	trust := {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}
	role := {"assume_role_policy": json.marshal({"Statement": [trust]})}
	found("aws_iam_role", role) == {"x.y trusts everybody"}
	open := {"assume_role_policy": json.marshal({"Statement": [object.union(trust, {"Principal": "*"})]})}
	found("aws_iam_role", open) == {"x.y trusts everybody"}
}

test_a_service_may_take_a_role if {
	trust := {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}
	count(found("aws_iam_role", {"assume_role_policy": json.marshal({"Statement": [trust]})})) == 0
}

test_the_administrators_policy_is_not_attached if {
	arn := "arn:aws:iam::aws:policy/AdministratorAccess"
	found("aws_iam_role_policy_attachment", {"role": "x", "policy_arn": arn}) == {concat("", ["x.y attaches ", arn])}
	count(found("aws_iam_role_policy_attachment", {"policy_arn": "arn:aws:iam::aws:policy/ReadOnlyAccess"})) == 0
}

test_roles_of_azure_count if {
	found("azurerm_role_assignment", {"role_definition_name": "Owner"}) == {"x.y gives the role Owner"}
	count(found("azurerm_role_assignment", {"role_definition_name": "Reader"})) == 0
	found("azurerm_role_definition", {"permissions": [{"actions": ["*"]}]}) == {"x.y allows every action"}
}

test_roles_of_google_count if {
	found("google_project_iam_member", {"role": "roles/owner", "member": "user:a@example.com"}) == {"x.y gives the role roles/owner"}
	found("google_storage_bucket_iam_binding", {"role": "roles/storage.objectViewer", "members": ["allUsers"]}) == {"x.y gives the role roles/storage.objectViewer to allUsers"}
	count(found("google_project_iam_member", {"role": "roles/viewer", "member": "user:a@example.com"})) == 0
}
