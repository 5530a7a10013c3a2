#!/bin/sh
# Makes a certificate authority of the cluster's own and, signed by it, a certificate each for scheduler, workers and client, in the
# form in which Kubernetes keeps them: FOLDER/{scheduler,worker,client}/{ca.crt,tls.crt,tls.key}. Dask trusts whoever shows a certificate
# of this authority and compares no host names; the authority's key is therefore thrown away, and new certificates mean all new ones.
#
#   certificates.sh FOLDER [DAYS]
set -eu
umask 077
folder=${1:?expected a folder that does not exist yet, as in: certificates.sh secrets 90}
days=${2:-90}
mkdir "$folder"
authority=$(mktemp -d)
trap 'rm -rf "$authority"' EXIT

openssl ecparam -name prime256v1 -genkey -noout -out "$authority/ca.key"
openssl req -x509 -new -sha256 -key "$authority/ca.key" -days "$days" -subj "/CN=faceswap-lab dask authority" \
  -addext "basicConstraints=critical,CA:TRUE,pathlen:0" -addext "keyUsage=critical,keyCertSign" -out "$authority/ca.crt"
printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n' > "$authority/leaf"
# An authority's key identifier is what newer versions of Python ask for.
printf 'authorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n' >> "$authority/leaf"

for role in scheduler worker client; do
  mkdir "$folder/$role"
  cp "$authority/ca.crt" "$folder/$role/ca.crt"
  openssl ecparam -name prime256v1 -genkey -noout -out "$folder/$role/tls.key"
  openssl req -new -sha256 -key "$folder/$role/tls.key" -subj "/CN=faceswap-lab dask $role" |
    openssl x509 -req -sha256 -days "$days" -CA "$authority/ca.crt" -CAkey "$authority/ca.key" -CAcreateserial \
      -extfile "$authority/leaf" -out "$folder/$role/tls.crt" 2> "$authority/said" || { cat "$authority/said" >&2; exit 1; }
done
