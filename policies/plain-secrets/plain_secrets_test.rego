package plain_secrets_test

import data.plain_secrets

found(configuration) := result if {
	result := plain_secrets.deny with input.configuration as configuration
}

resource(expressions) := {"root_module": {"resources": [{
	"address": "aws_db_instance.main",
	"type": "aws_db_instance",
	"expressions": expressions,
}]}}

test_a_password_in_a_resource_is_denied_and_not_repeated if {
	some finding in found(resource({"password": {"constant_value": "hunter2"}}))
	finding.msg == "aws_db_instance.main: password is written down in the configuration"
}

test_a_block_inside_counts if {
	count(found(resource({"master": [{"user_password": {"constant_value": "hunter2"}}]}))) == 1
}

test_a_reference_passes if count(found(resource({"password": {"references": ["var.password"]}}))) == 0

test_an_empty_text_and_a_switch_pass if {
	count(found(resource({"password": {"constant_value": ""}}))) == 0
	count(found(resource({"manage_master_user_password": {"constant_value": true}}))) == 0
}

test_what_is_no_secret_passes if count(found(resource({"token_ttl": {"constant_value": "3600"}}))) == 0

test_a_default_of_a_variable_is_denied if {
	some msg in found({"root_module": {"variables": {"db_password": {"default": "hunter2"}}}})
	contains(msg, "db_password")
	count(found({"root_module": {"variables": {"db_password": {"sensitive": true}}}})) == 0
}

test_module_calls_and_providers_count if {
	calls := {"root_module": {"module_calls": {"db": {"source": "./db", "expressions": {"password": {"constant_value": "x"}}, "module": {}}}}}
	some call in found(calls)
	call.address == "module db"
	providers := {"provider_config": {"aws": {"name": "aws", "expressions": {"secret_key": {"constant_value": "x"}}}}}
	some provider in found(providers)
	provider.address == "provider aws"
}

test_an_exception_is_data if {
	result := plain_secrets.deny with input.configuration as resource({"password": {"constant_value": "x"}})
		with data.no_secrets as ["password"]
	count(result) == 0
}
