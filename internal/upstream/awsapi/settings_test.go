package awsapi

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const expires = "2099-01-01T00:00:00Z"

// sources is a server with all from which credentials come.
func sources(t *testing.T) string {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /container", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"AccessKeyId": "container %s", "SecretAccessKey": "s", "Token": "t", "Expiration": %q}`, r.Header.Get("Authorization"), expires)
	})
	mux.HandleFunc("PUT /latest/api/token", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
		io.WriteString(w, "v2")
	})
	metadata := func(path, answer string) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Aws-Ec2-Metadata-Token") != "v2" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			io.WriteString(w, answer)
		})
	}
	metadata("/latest/meta-data/iam/security-credentials/{$}", "role")
	metadata("/latest/meta-data/iam/security-credentials/role", fmt.Sprintf(`{"Code": "Success", "AccessKeyId": "instance", "SecretAccessKey": "s", "Token": "t", "Expiration": %q}`, expires))
	metadata("/latest/dynamic/instance-identity/document", `{"region": "meta-1"}`)
	mux.HandleFunc("POST /sts/", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("WebIdentityToken") != "jwt" {
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, "<ErrorResponse><Error><Code>AccessDenied</Code><Message>Not authorized to perform sts:AssumeRoleWithWebIdentity</Message></Error></ErrorResponse>")
			return
		}
		fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>
			<AccessKeyId>web %s %s</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>%s</Expiration>
			</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, r.FormValue("RoleArn"), r.FormValue("RoleSessionName"), expires)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

func TestCredentials(t *testing.T) {
	url := sources(t)
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	config := file("config", "[default]\nregion = file-1 # here\n\n[profile  other]\nregion=file-2\ns3 =\n  region = nested\n[profile role]\nrole_arn = r\nsource_profile = default\n"+
		"[profile process]\ncredential_process = echo '{\"Version\":1,\"AccessKeyId\":\"process\",\"SecretAccessKey\":\"s\"}'\n")
	credentials := file("credentials", "# mine\n[other]\naws_access_key_id = shared\nAWS_SECRET_ACCESS_KEY = s\n")
	token, wrong := file("token", "jwt\n"), file("wrong", "x")
	files := map[string]string{"AWS_CONFIG_FILE": config, "AWS_SHARED_CREDENTIALS_FILE": credentials}
	metadata := map[string]string{"AWS_EC2_METADATA_DISABLED": "", "AWS_EC2_METADATA_SERVICE_ENDPOINT": url}
	with := func(all ...map[string]string) map[string]string {
		sum := map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_REGION": "", "AWS_ENDPOINT_URL_STS": url + "/sts/"}
		for _, m := range all {
			maps.Copy(sum, m)
		}
		return sum
	}
	web := func(token string) map[string]string {
		return map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": token, "AWS_ROLE_ARN": "arn", "AWS_REGION": "env-1"}
	}
	for name, tt := range map[string]struct {
		env                map[string]string
		region, key, wrong string
	}{
		"environment": {env: with(files, metadata, web(token), map[string]string{"AWS_ACCESS_KEY_ID": "env", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "", "AWS_DEFAULT_REGION": "env-2"}), region: "env-2", key: "env"},
		"profile first": {env: with(files, map[string]string{"AWS_PROFILE": "other", "AWS_ACCESS_KEY_ID": "env", "AWS_SECRET_ACCESS_KEY": "s"}),
			region: "file-2", key: "shared"},
		"web identity":       {env: with(files, metadata, web(token)), region: "env-1", key: "web arn holdfast"},
		"web identity fails": {env: with(web(wrong)), region: "env-1", wrong: "the credentials may not call sts:AssumeRoleWithWebIdentity"},
		"process":            {env: with(files, map[string]string{"AWS_PROFILE": "process", "AWS_REGION": "env-1"}), region: "env-1", key: "process"},
		"role in a profile":  {env: with(files, map[string]string{"AWS_PROFILE": "role", "AWS_REGION": "env-1"}), wrong: "profile role has a role to assume or single sign-on"},
		"container": {env: with(files, metadata, map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": url + "/container", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": token}),
			region: "file-1", key: "container jwt"},
		"instance": {env: with(metadata), region: "meta-1", key: "instance"},
	} {
		t.Run(name, func(t *testing.T) {
			setenv(t)
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
			key := ""
			s, err := load(ctx, "")
			if err == nil {
				if s.region != tt.region {
					t.Errorf("region %q, want %q", s.region, tt.region)
				}
				c, failure := s.credentials.Retrieve(ctx)
				key, err = c.AccessKeyID, failure
			}
			if key != tt.key || (err == nil) != (tt.wrong == "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("key %q, %v; want %q, %q", key, err, tt.key, tt.wrong)
			}
		})
	}
}
