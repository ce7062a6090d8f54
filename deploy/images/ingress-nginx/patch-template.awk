# Debian's nginx has its modules as files, and no Lua for `stream`: load the ones that are there, and replace the stream
# block by a port that only accepts what the controller sends to it.
BEGIN {
    split("ndk_http_module ngx_http_lua_module ngx_http_headers_more_filter_module ngx_stream_module", modules, " ")
    for (i = 1; i <= 4; i++) print "load_module /usr/lib/nginx/modules/" modules[i] ".so;"
}
/^stream \{/ {
    print "stream {\n    server {\n        listen 127.0.0.1:{{ .StreamPort }};\n        return \"\";\n    }\n}\n"
    skipping = 1
}
skipping && /^\{\{\/\*|^\{\{ *define/ { skipping = 0 }
!skipping { print }
