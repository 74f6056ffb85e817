# ---- nginx/shared
undo_by 'if systemctl is-active --quiet nginx.service; then
  if nginx -t -q; then systemctl reload nginx.service; else say "Nginx does not like its files"; fi
fi'
make_dir /var/www/aureon-acme 0755 root:root
put /etc/nginx/conf.d/aureon.conf 0644 root:root <<'END'
# Written by `aureon`. A request that asks for another protocol (WebSocket) takes its wish along;
# every other one is a connection of its own to the service, which costs little on one machine and
# can not be cut by a restart.
map $http_upgrade $aureon_connection {
    default upgrade;
    ''      close;
}
END
put /etc/nginx/snippets/aureon-proxy.conf 0644 root:root <<'END'
# Written by `aureon`, for its sites alone: what the service is told about the client.
proxy_http_version 1.1;
proxy_set_header Upgrade           $http_upgrade;
proxy_set_header Connection        $aureon_connection;
proxy_set_header Host              $host;
# Set, not added to: whatever a client writes into these is not believed. aureond believes them of
# this machine (trusted_proxies = ["loopback"]).
proxy_set_header X-Forwarded-For   $remote_addr;
proxy_set_header X-Forwarded-Proto $scheme;
proxy_set_header X-Forwarded-Host  $host;
proxy_set_header X-Real-IP         $remote_addr;
proxy_set_header Forwarded         '';
proxy_set_header CF-Connecting-IP  '';
# The same number in Nginx's log, the service's log and the answer.
proxy_set_header X-Request-Id      $request_id;
# An answer that says `X-Accel-Buffering: no` (events) is passed on as it comes; nothing here
# overrules that. Others are taken from the service at once, so that slow clients are Nginx's.
proxy_buffering on;
# What comes compressed stays so, and ETags stay what they are.
gzip off;
# The service listens on a socket that systemd holds: there is no waiting for it to start.
proxy_connect_timeout 5s;
END
put /etc/nginx/snippets/aureon-tls.conf 0644 root:root <<'END'
# Written by `aureon`, for its sites alone. Mozilla's intermediate configuration, version 5.7:
# https://ssl-config.mozilla.org
ssl_protocols TLSv1.2 TLSv1.3;
ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305;
ssl_prefer_server_ciphers off;
ssl_session_timeout 1d;
ssl_session_cache shared:aureon:10m;
# A ticket's key would be as old as the process: no forward secrecy.
ssl_session_tickets off;
END
nginx -t -q || fail 'Nginx does not accept its configuration'
enable_unit nginx.service
if systemctl is-active --quiet nginx.service; then
  systemctl reload nginx.service
else
  start_unit nginx.service
fi
# ---- nginx/default
undo_by 'if systemctl is-active --quiet nginx.service; then
  if nginx -t -q; then systemctl reload nginx.service; else say "Nginx does not like its files"; fi
fi'
put /etc/nginx/sites-available/aureon-default 0644 root:root <<'END'
# Written by `aureon`. Who asks for a name that this host does not have is told nothing:
# 444 closes the connection.
server {
    listen 80 default_server;
    listen [::]:80 default_server;
    server_name _;
    return 444;
}

server {
    listen 443 ssl default_server;
    listen [::]:443 ssl default_server;
    server_name _;
    # No name, no certificate: a scanner does not learn whose host this is.
    ssl_reject_handshake on;
    include /etc/nginx/snippets/aureon-tls.conf;
    return 444;
}
END
put_link /etc/nginx/sites-enabled/zz-aureon-default /etc/nginx/sites-available/aureon-default
remove /etc/nginx/sites-enabled/default
nginx -t -q || fail 'Nginx does not accept its configuration'
enable_unit nginx.service
if systemctl is-active --quiet nginx.service; then
  systemctl reload nginx.service
else
  start_unit nginx.service
fi
# ---- nginx/challenge
undo_by 'if systemctl is-active --quiet nginx.service; then
  if nginx -t -q; then systemctl reload nginx.service; else say "Nginx does not like its files"; fi
fi'
put /etc/nginx/sites-available/aureon-blog 0644 root:root <<'END'
# Written by `aureon deploy` for blog; the next deploy writes it anew.
server {
    listen 80;
    listen [::]:80;
    server_name example.com www.example.com;
    server_tokens off;

    # Certificates are asked for and renewed through this path, whatever else is here.
    location ^~ /.well-known/acme-challenge/ {
        root /var/www/aureon-acme;
        default_type text/plain;
        try_files $uri =404;
    }

    # The service's own limits (body_bytes_max, head_bytes_max, head_timeout, body_timeout,
    # idle_timeout, write_timeout, answer_timeout).
    client_max_body_size 1048576;
    large_client_header_buffers 4 16k;
    client_header_timeout 10s;
    client_body_timeout 10s;
    keepalive_timeout 60s;
    send_timeout 30s;
    proxy_read_timeout 65s;
    proxy_send_timeout 15s;

    location / {
        include /etc/nginx/snippets/aureon-proxy.conf;
        proxy_pass http://127.0.0.1:8080;
    }
}
END
put_link /etc/nginx/sites-enabled/zz-aureon-blog /etc/nginx/sites-available/aureon-blog
nginx -t -q || fail 'Nginx does not accept its configuration'
enable_unit nginx.service
if systemctl is-active --quiet nginx.service; then
  systemctl reload nginx.service
else
  start_unit nginx.service
fi
# ---- nginx/site
undo_by 'if systemctl is-active --quiet nginx.service; then
  if nginx -t -q; then systemctl reload nginx.service; else say "Nginx does not like its files"; fi
fi'
put /etc/nginx/sites-available/aureon-blog 0644 root:root <<'END'
# Written by `aureon deploy` for blog; the next deploy writes it anew.
server {
    listen 80;
    listen [::]:80;
    server_name example.com www.example.com;
    server_tokens off;

    # Certificates are asked for and renewed through this path, whatever else is here.
    location ^~ /.well-known/acme-challenge/ {
        root /var/www/aureon-acme;
        default_type text/plain;
        try_files $uri =404;
    }

    location / {
        return 308 https://$host$request_uri;
    }
}

server {
    listen 443 ssl http2;
    listen [::]:443 ssl http2;
    server_name example.com www.example.com;
    server_tokens off;

    ssl_certificate     /etc/letsencrypt/live/aureon-blog/fullchain.pem;
    ssl_certificate_key /etc/letsencrypt/live/aureon-blog/privkey.pem;
    include /etc/nginx/snippets/aureon-tls.conf;

    # Certificates are asked for and renewed through this path, whatever else is here.
    location ^~ /.well-known/acme-challenge/ {
        root /var/www/aureon-acme;
        default_type text/plain;
        try_files $uri =404;
    }

    # The service's own limits (body_bytes_max, head_bytes_max, head_timeout, body_timeout,
    # idle_timeout, write_timeout, answer_timeout).
    client_max_body_size 1048576;
    large_client_header_buffers 4 16k;
    client_header_timeout 10s;
    client_body_timeout 10s;
    keepalive_timeout 60s;
    send_timeout 30s;
    proxy_read_timeout 65s;
    proxy_send_timeout 15s;

    location / {
        include /etc/nginx/snippets/aureon-proxy.conf;
        proxy_pass http://127.0.0.1:8080;
    }
}
END
put_link /etc/nginx/sites-enabled/zz-aureon-blog /etc/nginx/sites-available/aureon-blog
nginx -t -q || fail 'Nginx does not accept its configuration'
enable_unit nginx.service
if systemctl is-active --quiet nginx.service; then
  systemctl reload nginx.service
else
  start_unit nginx.service
fi
