/* Certificate and key; see tls.h.  Process: master and worker; nothing is shared, and OpenSSL's objects survive a fork. */
#include "http/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <errno.h>
#include <string.h>

/* Nobody is there to be asked; OpenSSL would ask on the terminal. */
static int no_password(char *buf, int size, int for_writing, void *arg)
{
	(void)buf;
	(void)size;
	(void)for_writing;
	(void)arg;
	return 0;
}

static int complain(struct lp_buf *error, const char *option, const char *path)
{
	unsigned long e = ERR_peek_error();
	const char *reason = ERR_SYSTEM_ERROR(e) ? strerror(ERR_GET_REASON(e)) : ERR_reason_error_string(e);

	lp_buf_printf(error, "server.tls.%s: %.1000s: %s", option, path, reason ? reason : "cannot be used");
	ERR_clear_error();
	return -EINVAL;
}

static int fill(SSL_CTX *ctx, const struct lp_conf *conf, struct lp_buf *error)
{
	const char *cert = conf->server_tls.cert_file, *key = conf->server_tls.key_file;

	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	/* h2o fails on writes inside SSL_read, which renegotiation makes. */
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_default_passwd_cb(ctx, no_password);
	ERR_clear_error();
	if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
		return complain(error, "cert_file", cert);
	if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(ctx) != 1)
		return complain(error, "key_file", key);
	return 0;
}

int lp_tls_load(const struct lp_conf *conf, struct ssl_ctx_st **ret_ctx, struct lp_buf *error)
{
	SSL_CTX *ctx = NULL;
	int r = 0;

	if (conf->server_tls.cert_file[0] && conf->server_tls.key_file[0]) {
		ctx = SSL_CTX_new(TLS_server_method());
		r = ctx ? fill(ctx, conf, error) : -ENOMEM;
	}
	if (r < 0)
		lp_tls_free(&ctx);
	else
		*ret_ctx = ctx;
	return r;
}

void lp_tls_free(struct ssl_ctx_st **ctx)
{
	SSL_CTX_free(*ctx);
	*ctx = NULL;
}
