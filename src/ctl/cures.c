/* What to do about what the doctor finds. The lines are those of conf/proxy, whose files are tested
 * with each of the four proxies: keep them the same. */
#include <stddef.h>

#include "tickerd/ctl/judge.h"

static const struct cure_row cures[CURES] = {
    [CURE_REACH] = {.meaning = "Nobody can open this stream.",
                    .tickerd = "Is the proxy running, does it listen on this port, and does a "
                               "firewall let it through?"},
    [CURE_TLS] =
        {.meaning = "Browsers refuse the connection, and an EventSource only says \"error\".",
         .lines = {"ssl_certificate     /etc/ssl/example.org/fullchain.pem;  # with the chain\n"
                   "ssl_certificate_key /etc/ssl/example.org/privkey.pem;",
                   "bind :443 ssl crt /etc/haproxy/example.org.pem alpn h2,http/1.1\n"
                   "# the file holds the certificate, its chain and its key",
                   "example.org {  # without a tls line Caddy gets and renews one itself",
                   "SSLCertificateFile    /etc/ssl/example.org/fullchain.pem\n"
                   "SSLCertificateKeyFile /etc/ssl/example.org/privkey.pem"}},
    [CURE_REDIRECT] =
        {.meaning = "An EventSource follows, but takes the detour each time it comes back, and to "
                    "another origin it needs CORS on every step.",
         .tickerd = "Let the page open the last URL itself.",
         .lines = {"location /events { \xe2\x80\xa6 }  # no trailing slash, no return 301 for it",
                   "http-request redirect scheme https unless { ssl_fc } or { path_beg /events }",
                   "@tickerd path /events /events/*  # handled before any redir",
                   "RewriteRule ^/events - [END]  # before the rules that redirect"}},
    [CURE_LATER] =
        {.meaning = "An EventSource that meets this status gives up for good, until the page is "
                    "loaded again.",
         .tickerd = "Is tickerd running, and where the proxy looks for it? The proxy shall answer "
                    "200 and `retry:` while it is not (whole files: conf/proxy).",
         .lines = {"error_page 502 503 504 = @tickerd-later;  # in location /events\n"
                   "include nginx-later.conf;                 # in the server block",
                   "http-error status 503 content-type text/event-stream lf-string \"retry: "
                   "%[rand(1000),add(3000)]\\n\\n\" hdr x-own 1\n"
                   "http-after-response set-status 200 if own stream  # with 502 and 504 too: see "
                   "conf/proxy/haproxy.cfg",
                   "handle_errors {  # for 502, 503 and 504, if Accept names text/event-stream\n"
                   "    header Content-Type text/event-stream\n"
                   "    respond \"retry: 3500\n\n\" 200\n"
                   "}  # whole, with CORS for pages of other sites: conf/proxy/Caddyfile",
                   "ErrorDocument 502 /tickerd-later  # 503 and 504, too; with "
                   "apache-later.asis behind it"}},
    [CURE_REFUSED] = {.meaning = "An EventSource gives up for good on a refusal.",
                      .tickerd = "These are tickerd's own words: the request must change (its URL, "
                                 "--token), or tickerd's configuration."},
    [CURE_ROUTE] =
        {.meaning = "This is no event stream: an EventSource gives up for good.",
         .tickerd = "The proxy gives the path to something else, or not at all.",
         .lines = {"location /events {\n    proxy_pass http://127.0.0.1:8090;  # without a path\n}",
                   "use_backend tickerd if { path /events /healthz } or { path_beg /events/ }",
                   "@tickerd path /events /events/* /healthz\n"
                   "handle @tickerd {\n    reverse_proxy 127.0.0.1:8090\n}",
                   "ProxyPass /events http://127.0.0.1:8090/events nocanon disablereuse=on "
                   "retry=0 connectiontimeout=2 timeout=120"}},
    [CURE_BUFFERING] =
        {.meaning = "Users see events late and in bursts, or not at all.",
         .lines = {"proxy_buffering off;  # in location /events\n"
                   "# and no proxy_ignore_headers X-Accel-Buffering",
                   "option http-no-delay  # and no `http-response wait-for-body`",
                   "reverse_proxy 127.0.0.1:8090  # flushes event streams by itself; nothing "
                   "may encode or buffer (no response_buffers)",
                   "# no SetOutputFilter that collects (BUFFER, DEFLATE, SUBSTITUTE) in <Location "
                   "/events>"}},
    [CURE_COMPRESSION] =
        {.meaning = "A compressor between tickerd and the browser holds events back, or at the "
                    "least costs memory for each client.",
         .lines = {"gzip off;  # in location /events; or without text/event-stream in gzip_types",
                   "compression type text/html text/css application/javascript  # no "
                   "text/event-stream",
                   "# no `encode` in the handle of /events",
                   "SetEnv no-gzip 1    # in <Location /events>\nSetEnv no-brotli 1"}},
    [CURE_IDLE] =
        {.meaning = "A quiet stream is cut and opened again and again; users see \"error\" each "
                    "time, and the proxy has the load.",
         .tickerd = "The proxy's time-out must be longer than stream.heartbeat: lengthen the one, "
                    "or shorten the other.",
         .lines = {"proxy_read_timeout 2m;  # in location /events",
                   "timeout server 2m\ntimeout client 2m",
                   "transport http {\n    read_timeout 2m\n}\n"
                   "# and no write_timeout or idle time-out below 2m in `servers`",
                   "Timeout 120\n"
                   "ProxyPass /events http://127.0.0.1:8090/events nocanon disablereuse=on "
                   "retry=0 connectiontimeout=2 timeout=120"}},
    [CURE_RESUME] =
        {.meaning = "After each break users miss what came meanwhile, and are not told.",
         .lines = {"# no proxy_set_header Last-Event-ID \"\", no proxy_pass_request_headers off",
                   "# no http-request del-header Last-Event-ID",
                   "# no header_up -Last-Event-ID (or header_up -*)",
                   "# no RequestHeader unset Last-Event-ID"}},
    [CURE_CACHE] =
        {.meaning = "A cache may keep the stream and give it to others, or change it.",
         .lines = {"proxy_cache off;  # in location /events\n"
                   "# and no expires, proxy_hide_header or add_header Cache-Control there",
                   "http-response set-header Cache-Control \"no-cache, no-transform\"  # no "
                   "http-request cache-use",
                   "# no header Cache-Control, and no cache, in the handle of /events",
                   "CacheDisable /events\n"
                   "# and no Header set Cache-Control, no ExpiresActive in <Location /events>"}},
    [CURE_CORS] =
        {.meaning = "Browsers keep the stream from pages of that site.",
         .tickerd = "Name the site in cors.origins (with cors.credentials for cookies); then the "
                    "proxy need not do anything but leave the headers alone.",
         .lines = {"proxy_set_header Origin $http_origin;  # no proxy_hide_header "
                   "Access-Control-Allow-Origin;\n"
                   "# and OPTIONS goes to tickerd, too (no limit_except GET)",
                   "# no http-request del-header Origin, no http-response del-header "
                   "Access-Control-Allow-Origin",
                   "# no header_up -Origin, no header_down -Access-Control-Allow-Origin",
                   "# no RequestHeader unset Origin, no Header unset "
                   "Access-Control-Allow-Origin"}},
    [CURE_CORS_TWICE] =
        {.meaning = "Browsers refuse an answer that has two of these headers.",
         .tickerd = "Let only one of the two send it: with cors.origins tickerd does.",
         .lines = {"# no add_header Access-Control-Allow-Origin in location /events",
                   "# no http-response add-header Access-Control-Allow-Origin",
                   "# no header Access-Control-Allow-Origin in the handle of /events",
                   "# no Header add or set Access-Control-Allow-Origin in <Location /events>"}},
    [CURE_HTTP2] =
        {.meaning = "With HTTP/1.1 a browser opens six connections to a site, over all its tabs: "
                    "the seventh stream, and everything else, waits.",
         .lines = {"listen 443 ssl http2;  # from nginx 1.25.1 on: listen 443 ssl; http2 on;",
                   "bind :443 ssl crt /etc/haproxy/example.org.pem alpn h2,http/1.1",
                   "servers {\n    protocols h1 h2\n}  # as it is by itself with https",
                   "Protocols h2 http/1.1  # a2enmod http2"}},
    [CURE_CROWD] =
        {.meaning = "Somebody with several tabs, or an office behind one address, is turned away.",
         .tickerd = "limits.clients and limits.clients_per_ip bound it in tickerd; behind a proxy "
                    "the latter needs proxy.trusted, or all clients count as one.",
         .lines = {"# limit_conn in location /events: allow more, or leave it to tickerd\n"
                   "worker_connections 32768;  # and worker_rlimit_nofile 65536;",
                   "# maxconn (global, frontend, server) and LimitNOFILE= of the service: allow "
                   "more; no\n"
                   "# deny by sc_conn_cur",
                   "# no limit on concurrent streams in front of the handle of /events",
                   "MaxRequestWorkers 1024  # a stream is a thread; with HTTP/2: H2MaxWorkers "
                   "256"}},
    [CURE_WAITING] =
        {.meaning = "A page with many streams and nothing else gets some of them late.",
         .tickerd = "One stream can have many channels: /events?channel=a&channel=b.",
         .lines = {"http2_max_concurrent_streams 128;  # as it is by itself",
                   "tune.h2.max-concurrent-streams 100  # global; as it is by itself",
                   "# Caddy allows 250 by itself",
                   "H2MaxWorkers 256\n"
                   "# Apache begins a connection with six requests at a time, and allows more as\n"
                   "# requests end: let the page load its files from here, too"}},
};

const struct cure_row *cure_row(enum cure cure)
{
    return &cures[cure];
}

const char *proxy_name(enum proxy proxy)
{
    static const char *const names[PROXIES] = {"nginx", "HAProxy", "Caddy", "Apache"};
    return names[proxy];
}
