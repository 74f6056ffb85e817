# ---- certificate/files
undo_by 'if systemctl is-active --quiet nginx.service; then
  if nginx -t -q; then systemctl reload nginx.service; else say "Nginx does not like its files"; fi
fi'
make_dir /etc/aureon/blog/certificate-55884361 0700 root:root
put /etc/aureon/blog/certificate-55884361/privkey.pem 0600 root:root
put /etc/aureon/blog/certificate-55884361/fullchain.pem 0644 root:root <<'END'
-----BEGIN CERTIFICATE-----
MIIBlzCCATygAwIBAgIUJes3Yh6Kr8OXPOJ1/IT2LQ7kwAIwCgYIKoZIzj0EAwIw
HDEaMBgGA1UEAwwRVGVzdCBJbnRlcm1lZGlhdGUwIBcNMjYxMTI1MTMyNjE5WhgP
MjEyNjExMDExMzI2MTlaMA0xCzAJBgNVBAMMAmVjMFkwEwYHKoZIzj0CAQYIKoZI
zj0DAQcDQgAEsCkCGaAlt/UFX0qZoHBHjnWr0PRlbYzvChXT/qyKcAC1g5kKsTgt
3zQB0bKsEDYQ1Hc2JiywWqQxZLU3ymJryqNpMGcwJQYDVR0RBB4wHIILZXhhbXBs
ZS5jb22CDSouZXhhbXBsZS5jb20wHQYDVR0OBBYEFLR4QY+q2zY/RqacBFlfc8v9
xG3nMB8GA1UdIwQYMBaAFHDYZvTLsPZxSrpI4Nnle5Z/Opb9MAoGCCqGSM49BAMC
A0kAMEYCIQCKteWeNr6Q9uFZ+adpjbHsQn4pM0p9UhMM1iriDI+clgIhANKt2CF5
+tEyhQr/Paky19ULfxqTUZSUS0MltxyLzRTP
-----END CERTIFICATE-----
-----BEGIN CERTIFICATE-----
MIIBhjCCAS2gAwIBAgIUTw6sacS169cLaBlJo7bequLNCxYwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJVGVzdCBSb290MCAXDTI2MTEyNTEzMjYxOVoYDzIxMjYxMTAx
MTMyNjE5WjAcMRowGAYDVQQDDBFUZXN0IEludGVybWVkaWF0ZTBZMBMGByqGSM49
AgEGCCqGSM49AwEHA0IABFoFnxgiMt+pa8y2FQ3Lc1l8aDsuSH7ClhXrarXL7xbA
FOcPXS4Q9PjTAcPj4eSFLaVx/E28lcmdlMP3Aq1u/NujUzBRMA8GA1UdEwEB/wQF
MAMBAf8wHQYDVR0OBBYEFHDYZvTLsPZxSrpI4Nnle5Z/Opb9MB8GA1UdIwQYMBaA
FErUUx235gRPHCAOT3s614id/i3zMAoGCCqGSM49BAMCA0cAMEQCICwlcfeQ5+9P
uexh1FNDP2bNmiIAG0ORdoIilHXHDCJuAiAaS16doUtc6HbMYAjGMIM9JNcS8mpf
M0D2xGJBcSLuhw==
-----END CERTIFICATE-----
END
certificate_fits /etc/aureon/blog/certificate-55884361
put_link /etc/aureon/blog/certificate /etc/aureon/blog/certificate-55884361
nginx -t -q || fail 'Nginx does not accept its configuration'
if systemctl is-active --quiet nginx.service; then
  systemctl reload nginx.service
else
  start_unit nginx.service
fi
