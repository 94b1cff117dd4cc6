#!/bin/sh
# Makes assets/vendor anew. The only place where Node is used; the results are committed, a build needs neither.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here/editor.js" "$work/"
cd "$work"
npm init --yes >/dev/null
npm install --no-audit --no-fund --save-exact echarts@6.1.0 esbuild@0.25.12 \
    codemirror@6.0.2 @codemirror/state@6.7.6 @codemirror/view@6.43.15 @codemirror/commands@6.11.1 \
    @codemirror/autocomplete@6.20.4 @codemirror/lang-sql@6.10.0 @codemirror/theme-one-dark@6.1.3 \
    @fontsource-variable/inter@5.3.0
node node_modules/esbuild/install.js
node_modules/.bin/esbuild editor.js --bundle --minify --format=iife --global-name=CM --legal-comments=none --outfile=codemirror.min.js
vendor="$here/../../assets/vendor"
cp codemirror.min.js node_modules/echarts/dist/echarts.min.js "$vendor/"
cp node_modules/echarts/LICENSE "$vendor/LICENSE-echarts"
cp node_modules/echarts/NOTICE "$vendor/NOTICE-echarts"
cp node_modules/codemirror/LICENSE "$vendor/LICENSE-codemirror"
cp node_modules/@fontsource-variable/inter/files/inter-latin-wght-normal.woff2 "$vendor/inter-latin.woff2"
cp node_modules/@fontsource-variable/inter/LICENSE "$vendor/LICENSE-inter"
(cd "$vendor" && sha256sum codemirror.min.js echarts.min.js inter-latin.woff2 LICENSE-* NOTICE-* VERSIONS > SHA256SUMS)
