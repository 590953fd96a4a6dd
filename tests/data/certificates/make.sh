#!/usr/bin/env bash
# Makes the certificates beside this file anew, with OpenSSL. They are good for a hundred years, and for tests alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
DAYS=36500

authority() { # NAME
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days "$DAYS" \
    -subj "/CN=Ridgeline tests: $1" -keyout "$1.key" -out "$1.pem"
}

signed() { # NAME AUTHORITY COMMON_NAME EXTENSIONS
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$3" -keyout "$1.key" -out "$1.csr"
  openssl x509 -req -days "$DAYS" -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -extfile <(printf '%s\n' "$4") -out "$1.pem"
  rm "$1.csr"
}

SERVER=$'subjectAltName=DNS:ridgeline.example.org,DNS:localhost\nextendedKeyUsage=serverAuth'
authority ca
authority other-ca
signed server ca ridgeline.example.org "$SERVER"
signed renewed-server other-ca ridgeline.example.org "$SERVER"
signed nameless-server ca ridgeline.example.org 'extendedKeyUsage=serverAuth'
signed both-ways ca ridgeline.example.org "$SERVER,clientAuth"
signed client ca ops.example.org 'extendedKeyUsage=clientAuth'
signed roleless-client ca guest.example.org 'extendedKeyUsage=clientAuth'
signed foreign-client other-ca ops.example.org 'extendedKeyUsage=clientAuth'
openssl pkey -in server.key -aes256 -passout pass:open-sesame -out server-with-password.key
rm ca.key other-ca.key ./*.srl
