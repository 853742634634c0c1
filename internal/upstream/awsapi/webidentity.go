package awsapi

import (
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// webIdentity exchanges a token, such as that of a Kubernetes service account on EKS, for
// the credentials of a role. The call isn't signed.
type webIdentity struct {
	file, role, session string
	endpoint            string
	client              *http.Client
}

func newWebIdentity(file, role, session string, s *settings) *webIdentity {
	endpoint := cmp.Or(os.Getenv("AWS_ENDPOINT_URL_STS"), s.endpoint, serviceURL("sts", s.region))
	return &webIdentity{
		file: file, role: role, session: cmp.Or(session, "holdfast"), endpoint: endpoint,
		client: &http.Client{Timeout: 10 * time.Second, CheckRedirect: noRedirect, Transport: newTransport()},
	}
}

// Retrieve implements aws.CredentialsProvider.
func (w *webIdentity) Retrieve(ctx context.Context) (aws.Credentials, error) {
	token, err := os.ReadFile(w.file) // it is replaced from time to time
	if err != nil {
		return aws.Credentials{}, err
	}
	defer w.client.CloseIdleConnections()
	form := url.Values{
		"Action": {"AssumeRoleWithWebIdentity"}, "Version": {"2011-06-15"},
		"RoleArn": {w.role}, "RoleSessionName": {w.session}, "WebIdentityToken": {strings.TrimSpace(string(token))},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return aws.Credentials{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	res, err := w.client.Do(req)
	if err != nil {
		return aws.Credentials{}, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	switch {
	case err != nil:
		return aws.Credentials{}, err
	case res.StatusCode != http.StatusOK:
		code, message := parseXMLError(answer)
		return aws.Credentials{}, &Error{"sts:AssumeRoleWithWebIdentity", res.StatusCode, short(code, 64), short(message, 200)}
	}
	return parseWebIdentity(answer)
}

func parseWebIdentity(answer []byte) (aws.Credentials, error) {
	var root struct {
		XMLName     xml.Name `xml:"AssumeRoleWithWebIdentityResponse"`
		Credentials struct {
			AccessKeyId, SecretAccessKey, SessionToken string
			Expiration                                 time.Time
		} `xml:"AssumeRoleWithWebIdentityResult>Credentials"`
	}
	if err := parseXML(answer, &root); err != nil {
		return aws.Credentials{}, fmt.Errorf("sts:AssumeRoleWithWebIdentity: %w", err)
	}
	c := root.Credentials
	if c.AccessKeyId == "" || c.SecretAccessKey == "" || c.Expiration.IsZero() {
		return aws.Credentials{}, errors.New("sts:AssumeRoleWithWebIdentity: the answer has no credentials")
	}
	return aws.Credentials{
		AccessKeyID: c.AccessKeyId, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken,
		CanExpire: true, Expires: c.Expiration,
	}, nil
}
