package pinned_versions_test

import data.pinned_versions

providers(provider) := {"provider_config": {"aws": provider}}

module(call) := {"root_module": {"module_calls": {"vpc": call}}}

found(configuration) := result if {
	result := pinned_versions.deny with input.configuration as configuration
}

test_a_provider_without_a_version_is_denied if {
	found(providers({"name": "aws", "full_name": "example.com/hashicorp/aws"})) == {"the provider aws has no version"}
	count(found(providers({"name": "aws", "full_name": "example.com/hashicorp/aws", "version_constraint": "~> 5.0"}))) == 0
}

test_the_built_in_provider_needs_none if count(found(providers({"name": "terraform", "full_name": "terraform.io/builtin/terraform"}))) == 0

test_a_module_of_a_registry_needs_a_version if {
	call := {"source": "terraform-aws-modules/vpc/aws"}
	found(module(call)) == {"the module vpc (terraform-aws-modules/vpc/aws) has no version"}
	count(found(module(object.union(call, {"version_constraint": "5.1.0"})))) == 0
	count(found(module({"source": "registry.example.com/team/vpc/aws"}))) == 1
}

test_a_module_of_git_needs_a_tag_or_a_commit if {
	count(found(module({"source": "git::https://example.com/vpc.git"}))) == 1
	count(found(module({"source": "github.com/acme/vpc"}))) == 1
	found(module({"source": "git::https://example.com/vpc.git?ref=main"})) == {"the module vpc follows the branch main"}
	count(found(module({"source": "git::https://example.com/vpc.git?ref=v1.2.0"}))) == 0
	count(found(module({"source": "git@example.com:acme/vpc.git?depth=1&ref=4f2a1c0"}))) == 0
}

test_a_module_of_this_repository_passes if {
	count(found(module({"source": "./vpc"}))) == 0
	count(found(module({"source": "../modules/vpc"}))) == 0
}

test_a_module_inside_a_module_counts if {
	inner := {"source": "./vpc", "module": {"module_calls": {"deep": {"source": "acme/deep/aws"}}}}
	found(module(inner)) == {"the module deep (acme/deep/aws) has no version"}
}
