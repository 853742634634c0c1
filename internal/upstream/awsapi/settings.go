package awsapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

// settings are what the environment says.
type settings struct {
	region      string
	endpoint    string // of all services; "" is AWS's
	credentials *aws.CredentialsCache
}

// load looks for a region and for credentials where programs with the SDK do, in this
// order: the environment, a web identity, the shared files, the endpoint of a container,
// the instance's metadata (IMDSv2 only). The SDK's own chain, its package config, also
// has single sign-on and roles in profiles, and is five times as large as what is used
// of it here. Credentials are first asked for by a call.
func load(ctx context.Context, region string) (*settings, error) {
	p, err := readProfile()
	if err != nil {
		return nil, err
	}
	metadata := imds.New(imds.Options{EnableFallback: aws.FalseTernary})
	s := &settings{endpoint: os.Getenv("AWS_ENDPOINT_URL")}
	s.region = cmp.Or(region, os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"), p.keys["region"])
	if s.region == "" {
		if answer, err := metadata.GetRegion(ctx, nil); err == nil {
			s.region = answer.Region
		}
	}
	switch {
	case s.region == "":
		return nil, errors.New("there is no region: add region: to aws, or set AWS_REGION")
	case !isRegion(s.region):
		return nil, fmt.Errorf("the environment's region %q isn't one: add region: to aws, or set AWS_REGION", oneLine(s.region))
	}
	provider, err := chain(p, s, metadata)
	if err != nil {
		return nil, err
	}
	s.credentials = aws.NewCredentialsCache(provider)
	return s, nil
}

// isRegion reports whether s may be part of a host's name.
func isRegion(s string) bool {
	return s != "" && len(s) <= 40 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

func chain(p profile, s *settings, metadata *imds.Client) (aws.CredentialsProvider, error) {
	static := func(id, secret, token string) aws.CredentialsProvider {
		return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: token}, nil
		})
	}
	id, secret := os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
	tokenFile, role := os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE"), os.Getenv("AWS_ROLE_ARN")
	keys := p.keys
	if !p.named { // a profile that was asked for comes first
		switch {
		case id != "" && secret != "":
			return static(id, secret, os.Getenv("AWS_SESSION_TOKEN")), nil
		case id != "" || secret != "":
			return nil, errors.New("only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set")
		case tokenFile != "" && role != "":
			return newWebIdentity(tokenFile, role, os.Getenv("AWS_ROLE_SESSION_NAME"), s), nil
		}
	}
	switch {
	case keys["role_arn"] != "" && keys["web_identity_token_file"] != "":
		return newWebIdentity(keys["web_identity_token_file"], keys["role_arn"], keys["role_session_name"], s), nil
	case keys["role_arn"] != "" || keys["sso_session"] != "" || keys["sso_start_url"] != "" || keys["login_session"] != "":
		return nil, fmt.Errorf("profile %s has a role to assume or single sign-on, which holdfast doesn't do: give the instance or task the role, or use credential_process", p.name)
	case keys["aws_access_key_id"] != "" && keys["aws_secret_access_key"] != "":
		return static(keys["aws_access_key_id"], keys["aws_secret_access_key"], keys["aws_session_token"]), nil
	case keys["credential_process"] != "":
		return processcreds.NewProvider(keys["credential_process"]), nil
	case p.named:
		return nil, fmt.Errorf("profile %s has no credentials", p.name)
	}
	at := os.Getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI")
	if relative := os.Getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"); relative != "" {
		at = "http://169.254.170.2" + relative
	}
	if at != "" {
		return endpointcreds.New(at, func(o *endpointcreds.Options) {
			o.AuthorizationToken = os.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN")
			if file := os.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); file != "" {
				o.AuthorizationTokenProvider = endpointcreds.TokenProviderFunc(func() (string, error) {
					token, err := os.ReadFile(file) // it is replaced from time to time
					return strings.TrimSpace(string(token)), err
				})
			}
		}), nil
	}
	return ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = metadata }), nil
}

// profile is a section of the shared files.
type profile struct {
	name  string
	named bool // by AWS_PROFILE
	keys  map[string]string
}

// readProfile reads the profile in both shared files. The file of credentials counts
// more. A file that is missing is empty.
func readProfile() (profile, error) {
	name := os.Getenv("AWS_PROFILE")
	p := profile{name: cmp.Or(name, "default"), named: name != "", keys: map[string]string{}}
	home, _ := os.UserHomeDir()
	section := "profile " + p.name
	if p.name == "default" {
		section = p.name
	}
	for _, f := range []struct{ path, section string }{
		{cmp.Or(os.Getenv("AWS_CONFIG_FILE"), filepath.Join(home, ".aws", "config")), section},
		{cmp.Or(os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), filepath.Join(home, ".aws", "credentials")), p.name},
	} {
		text, err := os.ReadFile(f.path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return p, err
		}
		parseShared(string(text), f.section, p.keys)
	}
	return p, nil
}

// parseShared adds the keys of a section in the text of a shared file. Indented lines
// belong to nested settings, none of which is used here.
func parseShared(text, section string, keys map[string]string) {
	inside := false
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || trimmed[0] == '#' || trimmed[0] == ';' || line[0] == ' ' || line[0] == '\t':
		case trimmed[0] == '[':
			name, _, _ := strings.Cut(trimmed[1:], "]")
			inside = strings.Join(strings.Fields(name), " ") == section
		case inside:
			name, value, ok := strings.Cut(trimmed, "=")
			if !ok {
				continue
			}
			for _, comment := range []string{" #", " ;", "\t#", "\t;"} {
				value, _, _ = strings.Cut(value, comment)
			}
			keys[strings.ToLower(strings.TrimSpace(name))] = strings.TrimSpace(value)
		}
	}
}
