# ---- certificate/reach
certificate_token /var/www/aureon-acme/.well-known/acme-challenge/aureon-blog 'aureon blog example.com www.example.com'
# ---- certificate/issue
certificate_token_away /var/www/aureon-acme/.well-known/acme-challenge/aureon-blog
remove /etc/aureon/blog/renewal-rehearsed
certificate_issue aureon-blog --server https://acme.test/dir --no-eff-email -m a@example.com -d example.com -d www.example.com
# ---- certificate/renewal
certificate_rehearse aureon-blog --server https://acme.test/dir
put /etc/aureon/blog/renewal-rehearsed 0644 root:root <<'END'
example.com
www.example.com
END
# ---- certificate/timer
enable_unit certbot.timer
start_unit certbot.timer
