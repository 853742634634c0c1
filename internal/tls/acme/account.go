package acme

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
)

// storedAccount is how an account is stored: in one file, so that it is never there
// without its key.
type storedAccount struct {
	Account acme.Account `json:"account"`
	Key     []byte       `json:"key"` // in PEM
}

func (i *issuer) accountKey() string {
	return "acme/" + certmagic.StorageKeys.Safe(i.key) + "/account-" + certmagic.StorageKeys.Safe(i.m.account.Email) + ".json"
}

// loadAccount returns the account of the storage, or makes one. The terms of the
// authority count as agreed to by whoever configures ACME; docs/tls.md says so.
func (i *issuer) loadAccount(ctx context.Context) (acme.Account, error) {
	account, err := i.readAccount(ctx)
	if !errors.Is(err, fs.ErrNotExist) {
		return account, err
	}
	lock := "account_" + i.accountKey()
	if err := i.storage.Lock(ctx, lock); err != nil {
		return account, fmt.Errorf("the storage: %w", err)
	}
	defer i.storage.Unlock(context.WithoutCancel(ctx), lock)
	account, err = i.readAccount(ctx) // another balancer may have made it meanwhile
	if !errors.Is(err, fs.ErrNotExist) {
		return account, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return account, err
	}
	account = acme.Account{TermsOfServiceAgreed: true, PrivateKey: key}
	if i.m.account.Email != "" {
		account.Contact = []string{"mailto:" + i.m.account.Email}
	}
	if account, err = i.client.NewAccount(ctx, account); err != nil {
		return account, fmt.Errorf("registering an account: %w", err)
	}
	stored := storedAccount{Account: account}
	if stored.Key, err = certmagic.PEMEncodePrivateKey(key); err != nil {
		return account, err
	}
	text, err := json.Marshal(stored)
	if err == nil {
		err = i.storage.Store(ctx, i.accountKey(), text)
	}
	if err != nil {
		return account, fmt.Errorf("the storage: %w", err)
	}
	i.m.log.Info("account registered with ACME", "directory", i.m.account.Directory, "email", i.m.account.Email)
	return account, nil
}

// readAccount returns fs.ErrNotExist if there is none.
func (i *issuer) readAccount(ctx context.Context) (acme.Account, error) {
	text, err := i.storage.Load(ctx, i.accountKey())
	if err != nil {
		return acme.Account{}, err
	}
	var stored storedAccount
	var key crypto.Signer
	if err = json.Unmarshal(text, &stored); err == nil {
		key, err = certmagic.PEMDecodePrivateKey(stored.Key)
	}
	if err != nil {
		return acme.Account{}, fmt.Errorf("the account in the storage (%s) is damaged; remove the file to register another one: %w", i.accountKey(), err)
	}
	stored.Account.PrivateKey = key
	return stored.Account, nil
}

func (i *issuer) forgetAccount(ctx context.Context) error {
	i.m.log.Warn("the ACME directory does not know our account any more; registering another one", "directory", i.m.account.Directory)
	return i.storage.Delete(ctx, i.accountKey())
}
