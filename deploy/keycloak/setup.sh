#!/usr/bin/env bash
# Makes the realm of agents-realm.json at a Keycloak that runs, over its admin API, or
# adds what is missing there. What is there already is left as it is, but that `mcp-client`, and
# every client still to come, is given the scope `mcp` again. The scope is made here alone: a
# file with scopes in it would be without those that Keycloak makes itself.
#
#     export KEYCLOAK_URL=https://id.example.org
#     export KEYCLOAK_ADMIN_PASSWORD_FILE=./admin_password
#     export MCP_PUBLIC_URL=https://mcp.example.org/mcp
#     export MCP_MULTIPLEXER_SECRET_FILE=./oidc_client_secret
#     deploy/keycloak/setup.sh
#
#   KEYCLOAK_URL                   where Keycloak is
#   KEYCLOAK_ADMIN                 its administrator (admin)
#   KEYCLOAK_ADMIN_PASSWORD_FILE   a file with the administrator's password
#   MCP_REALM                      the realm (agents)
#   MCP_PUBLIC_URL                 the URL of /mcp as clients know it: the audience of users' tokens
#   MCP_MULTIPLEXER_SECRET_FILE    a file with the secret of the service identity; it is
#                                  made with a new secret if it is not there
#   MCP_TEST_PASSWORD_FILE         a file with a password for the user `tester`, who
#                                  cannot log in without one (optional)
#
# Needs bash, curl, jq and openssl. No secret is an argument of any process.
set -euo pipefail

here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
: "${KEYCLOAK_URL:?where Keycloak is, as https://id.example.org}"
: "${KEYCLOAK_ADMIN_PASSWORD_FILE:?a file with the password of the administrator}"
: "${MCP_PUBLIC_URL:?the URL of /mcp as clients know it, as https://mcp.example.org/mcp}"
: "${MCP_MULTIPLEXER_SECRET_FILE:?a file for the secret of the service identity}"
realm=${MCP_REALM:-agents}
admin=${KEYCLOAK_URL%/}/admin/realms

main() {
  if [[ ! -s $MCP_MULTIPLEXER_SECRET_FILE ]]; then
    (umask 077 && openssl rand -base64 32 >"$MCP_MULTIPLEXER_SECRET_FILE")
    echo "a new secret is in $MCP_MULTIPLEXER_SECRET_FILE"
  fi
  token=$(log_in)
  local wanted
  wanted=$(wanted_realm)
  if [[ $(status_of "/$realm") == 404 ]]; then
    ask POST "" <<<"$wanted" >/dev/null
    echo "made the realm $realm"
  else
    add_clients_and_users <<<"$wanted"
  fi
  add_scope
  [[ -z ${MCP_TEST_PASSWORD_FILE-} ]] || set_test_password
}

# The file, with what its placeholders stand for.
wanted_realm() {
  jq --arg realm "$realm" --arg url "$MCP_PUBLIC_URL" \
    --rawfile secret "$MCP_MULTIPLEXER_SECRET_FILE" '
    .realm = $realm
    | walk(if type == "string" then
        if . == "${MCP_MULTIPLEXER_SECRET}" then $secret | rtrimstr("\n")
        elif startswith("${MCP_PUBLIC_URL") then $url
        else . end
      else . end)' "$here/agents-realm.json"
}

log_in() {
  curl --silent --show-error --fail-with-body --request POST \
    --data-urlencode "grant_type=password" --data-urlencode "client_id=admin-cli" \
    --data-urlencode "username=${KEYCLOAK_ADMIN:-admin}" \
    --data-urlencode "password@"<(tr -d '\n' <"$KEYCLOAK_ADMIN_PASSWORD_FILE") \
    "${KEYCLOAK_URL%/}/realms/master/protocol/openid-connect/token" | jq --raw-output .access_token
}

# ask METHOD PATH, with JSON on stdin where there is any.
ask() {
  local body=()
  [[ $1 == GET ]] || body=(--header "Content-Type: application/json" --data-binary @-)
  curl --silent --show-error --fail-with-body --config <(authorization) \
    --request "$1" "${body[@]}" "$admin$2"
}

status_of() {
  curl --silent --output /dev/null --write-out '%{http_code}' --config <(authorization) "$admin$1"
}

authorization() {
  printf 'header = "Authorization: Bearer %s"\n' "$token"
}

add_clients_and_users() {
  jq '{ifResourceExists: "SKIP", clients, users}' |
    ask POST "/$realm/partialImport" |
    jq --raw-output '.results[]
      | (if .action == "SKIPPED" then "is there already" else .action | ascii_downcase end) as $done
      | "\(.resourceType | ascii_downcase) \(.resourceName): \($done)"'
}

# What the door asks for: a scope whose tokens are meant for the multiplexer. People's clients
# have it by default, those that are still to come included.
add_scope() {
  local scope client
  scope=$(id_of /client-scopes mcp name)
  if [[ -z $scope ]]; then
    jq --null-input --arg url "$MCP_PUBLIC_URL" '{
        name: "mcp", protocol: "openid-connect",
        description: "May call the multiplexer.",
        attributes: {"include.in.token.scope": "true"},
        protocolMappers: [{
          name: "audience of the multiplexer", protocol: "openid-connect",
          protocolMapper: "oidc-audience-mapper",
          config: {
            "included.custom.audience": $url, "access.token.claim": "true",
            "id.token.claim": "false", "introspection.token.claim": "true"
          }
        }]
      }' | ask POST "/$realm/client-scopes"
    scope=$(id_of /client-scopes mcp name)
    echo "made the scope mcp"
  fi
  client=$(id_of "/clients?clientId=mcp-client" mcp-client clientId)
  give_scope /default-default-client-scopes "$scope"
  give_scope "/clients/$client/default-client-scopes" "$scope"
}

# give_scope PATH ID, where it is not there yet: a second time is a conflict.
give_scope() {
  [[ -n $(id_of "$1" mcp name) ]] || ask PUT "/$realm$1/$2" <<<'{}'
}

# id_of PATH NAME KEY: the id of what has this name, if it is there.
id_of() {
  ask GET "/$realm$1" | jq --raw-output --arg name "$2" --arg key "$3" \
    '.[] | select(.[$key] == $name) | .id'
}

set_test_password() {
  local id
  id=$(ask GET "/$realm/users?username=tester&exact=true" | jq --raw-output '.[0].id')
  jq --null-input --rawfile password "$MCP_TEST_PASSWORD_FILE" \
    '{type: "password", temporary: false, value: ($password | rtrimstr("\n"))}' |
    ask PUT "/$realm/users/$id/reset-password"
  echo "the user tester can log in"
}

main
