#!/bin/sh
# `npm run build:ric`: fetches AWS's Node.js runtime client and compiles its native part, for the tests of the packaged
# zip. It is no dependency of the package: it needs cmake and a C++ compiler, which `npm ci` must not.
set -eu
version=4.0.2
target=$(cd "$(dirname "$0")/.." && pwd)/.build/ric

# It is built elsewhere: curl's configure refuses a folder with a space in its path.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --prefix "$folder" --no-save --ignore-scripts --no-audit --no-fund "aws-lambda-ric@$version"
client=$folder/node_modules/aws-lambda-ric
"$client/scripts/preinstall.sh"
"$client/scripts/postinstall.sh"

rm -rf "$target"
mkdir -p "$target"
mv "$folder/node_modules" "$target"
