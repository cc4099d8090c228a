"""Faults as people make them, planted in the configurations of conf/proxy: pieces of text, and what stands
in their place. (HAProxy and Apache hold no stream back by a line or two; and HAProxy obeys no-transform.)"""

_NGINX = {
    "buffered": ("proxy_buffering off;", "proxy_ignore_headers X-Accel-Buffering;"),
    "compressed": ("gzip off;", "gzip on; gzip_types text/event-stream;"),
    "impatient": ("proxy_read_timeout 2m;", "proxy_read_timeout 2s;"),
    "forgetful": ('proxy_set_header Forwarded "";', 'proxy_set_header Last-Event-ID "";'),
    "own-page": ("error_page 502 503 504 = @tickerd-later;", ""),
    "http/1.1": (" ssl http2;", " ssl;"),
}
_HAPROXY = {
    "impatient": ("timeout server 2m", "timeout server 2s"),
    "forgetful": ("http-request del-header Forwarded", "http-request del-header Last-Event-ID"),
    "own-page": ("http-after-response set-status 200 if own stream", ""),
    "http/1.1": ("alpn h2,http/1.1", "alpn http/1.1"),
}
_CADDY = {
    "buffered": ("lb_retries 1", "buffer_responses"),
    "compressed": ("\t\treverse_proxy {\n", "\t\tencode {\n\t\t\tgzip\n\t\t\tminimum_length 1\n\t\t}\n"
                   "\t\treverse_proxy {\n"),
    "impatient": ("read_timeout 2m", "read_timeout 2s"),
    "forgetful": ("header_up -Forwarded", "header_up -Last-Event-ID"),
    "own-page": ("expression {http.error.status_code} in [502, 503, 504]", "path /nothing"),
    "http/1.1": ("protocols h1 h2", "protocols h1"),
}
_APACHE = {
    "compressed": ("SetEnv no-gzip 1", "SetOutputFilter DEFLATE"),
    "impatient": ("timeout=120", "timeout=2"),
    "forgetful": ("RequestHeader unset Forwarded", "RequestHeader unset Last-Event-ID"),
    "own-page": ("m#text/event-stream#i", "m#text/nothing#"),
    "http/1.1": ("Protocols h2 http/1.1", "Protocols http/1.1"),
}
PLANTS = {"nginx": _NGINX, "haproxy": _HAPROXY, "caddy": _CADDY, "apache2": _APACHE}


def planted(binary, fault):
    """What spoils the configuration of this proxy."""
    good, bad = PLANTS[binary][fault]

    def plant(text):
        assert good in text, good
        return text.replace(good, bad)
    return plant


def pairs():
    """Each proxy with each of its faults."""
    return [(binary, fault) for binary, faults in PLANTS.items() for fault in faults]
