# ---- certificate/reach
make_dir /var/www/aureon-acme/.well-known 0755 root:root
make_dir /var/www/aureon-acme/.well-known/acme-challenge 0755 root:root
undo_by 'rm -f /var/www/aureon-acme/.well-known/acme-challenge/aureon-blog'
printf '%s\n' 'aureon blog example.com www.example.com' >/var/www/aureon-acme/.well-known/acme-challenge/aureon-blog
chmod 0644 /var/www/aureon-acme/.well-known/acme-challenge/aureon-blog
# ---- certificate/issue
rm -f /var/www/aureon-acme/.well-known/acme-challenge/aureon-blog
certificate_issue aureon-blog --server https://acme.test/dir --no-eff-email -m a@example.com -d example.com -d www.example.com
# ---- certificate/renewal
certificate_rehearse aureon-blog --server https://acme.test/dir
# ---- certificate/timer
enable_unit certbot.timer
start_unit certbot.timer
