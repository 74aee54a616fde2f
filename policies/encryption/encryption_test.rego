package encryption_test

import data.encryption

found(type, after, unknown) := {finding.msg | some finding in result} if {
	result := encryption.deny with input.resource_changes as [{
		"address": "x.y",
		"mode": "managed",
		"type": type,
		"change": {"actions": ["create"], "after": after, "after_unknown": unknown},
	}]
}

test_a_database_that_is_not_encrypted_is_denied if {
	found("aws_db_instance", {"storage_encrypted": false}, {}) == {"x.y: storage_encrypted is not on"}
	found("aws_db_instance", {"storage_encrypted": null}, {}) == {"x.y: storage_encrypted is not on"}
	count(found("aws_db_instance", {"storage_encrypted": true}, {})) == 0
}

test_what_is_known_later_is_not_denied if count(found("aws_ebs_volume", {}, {"encrypted": true})) == 0

test_azure_counts if {
	account := {"https_traffic_only_enabled": true, "min_tls_version": "TLS1_0"}
	found("azurerm_storage_account", account, {}) == {"x.y: min_tls_version is TLS1_0"}
	count(found("azurerm_storage_account", object.union(account, {"min_tls_version": "TLS1_2"}), {})) == 0
}

instance(mode) := {"settings": [{"ip_configuration": [{"ssl_mode": mode}]}]}

test_google_counts if {
	found("google_sql_database_instance", instance("ALLOW_UNENCRYPTED_AND_ENCRYPTED"), {}) == {"x.y: settings.ip_configuration.ssl_mode is ALLOW_UNENCRYPTED_AND_ENCRYPTED"}
	count(found("google_sql_database_instance", instance("ENCRYPTED_ONLY"), {})) == 0
	count(found("google_redis_instance", {"transit_encryption_mode": "DISABLED"}, {})) == 1
}

test_a_block_in_a_block_counts if {
	cluster := {"encryption_info": [{"encryption_in_transit": [{"client_broker": "PLAINTEXT"}]}]}
	count(found("aws_msk_cluster", cluster, {})) == 1
}

test_other_types_pass if count(found("aws_route", {"encrypted": false}, {})) == 0
