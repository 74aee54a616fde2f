# METADATA
# title: Secrets are not written down
# description: >-
#   What is written in the configuration is in the history of the repository, in every copy of it and in
#   the state, for ever.
# custom:
#   remedy: >-
#     Take it from a secret manager by a data source, let the provider make it, or use a variable that is
#     `sensitive` and has no default. Then change the secret: the old one is out.
#   owners: ["*"]
package plain_secrets

deny contains finding if {
	some place in places
	some argument in place.arguments
	finding := {
		"msg": sprintf("%s: %s is written down in the configuration", [place.name, argument]),
		"address": place.name,
	}
}

deny contains msg if {
	walk(input.configuration, [path, variable])
	path[count(path) - 2] == "variables"
	name := path[count(path) - 1]
	is_secret(name)
	is_written(variable.default)
	msg := sprintf("the variable %s has its value as a default in the configuration", [name])
}

# Resources, module calls and providers with the secret arguments that are constants.
places := [place |
	walk(input.configuration, [path, value])
	expressions := value.expressions
	arguments := {name |
		walk(expressions, [inner, expression])
		name := inner[count(inner) - 1]
		is_string(name)
		is_secret(name)
		is_written(expression.constant_value)
	}
	count(arguments) > 0
	place := {"name": called(value, path), "arguments": arguments}
]

called(value, _) := value.address if value.address

called(value, path) := sprintf("%v %v", [word, path[count(path) - 1]]) if {
	not value.address
	word := {"module_calls": "module", "provider_config": "provider"}[path[count(path) - 2]]
}

is_secret(name) if {
	some pattern in data.secret_names
	regex.match(pattern, lower(name))
	not name in data.no_secrets
}

is_written(value) if {
	is_string(value)
	count(trim_space(value)) > 0
}
