package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/alecthomas/kong"
)

// BeforeResolve puts the configuration file and the environment under the
// flags: flag > environment > file > default. kong takes the answer of the
// last resolver that has one, so the environment goes last.
func (*cli) BeforeResolve(kctx *kong.Context, a *app) error {
	if file := configFile(kctx, a); file != "" {
		values, err := loadConfig(file, kctx.Flags())
		if err != nil {
			return err
		}
		kctx.AddResolver(resolver(func(flag *kong.Flag) (string, string) {
			return values[flag.Name], flag.Name + " in " + file
		}))
	}
	kctx.AddResolver(resolver(func(flag *kong.Flag) (string, string) {
		name := envName(flag.Name)
		v, _ := a.getenv(name)
		return v, name + " in the environment"
	}))
	return nil
}

// configFile returns the value of --config, if the command has one.
func configFile(kctx *kong.Context, a *app) string {
	for _, flag := range kctx.Flags() {
		if flag.Name != "config" {
			continue
		}
		if file, _ := kctx.FlagValue(flag).(string); file != "" {
			return file
		}
		file, _ := a.getenv(envName("config"))
		return file
	}
	return ""
}

func envName(flag string) string {
	return "WAYBILL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// resolver answers with what find has for a flag, "" being nothing. It tries
// the value first, so that a bad one is named by where it stands: it is no
// error of the command line.
func resolver(find func(*kong.Flag) (value, where string)) kong.Resolver {
	return kong.ResolverFunc(func(kctx *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		if flag.Name == "help" || yields(kctx, flag) {
			return nil, nil
		}
		text, where := find(flag)
		if text == "" {
			return nil, nil
		}
		v, err := decodeFlag(flag, text)
		if err == nil {
			err = inRange(flag, v)
		}
		if err == nil && flag.Enum != "" && !flag.EnumMap()[text] {
			err = fmt.Errorf("must be one of %s", strings.Join(flag.EnumSlice(), ", "))
		}
		if err != nil {
			return nil, fail(exitConfig, "%s: %w", where, err)
		}
		return text, nil
	})
}

// yields reports whether an alternative to flag stands on the command line:
// with WAYBILL_URL set for the clients, `journal verify --state D` still
// means D.
func yields(kctx *kong.Context, flag *kong.Flag) bool {
	for _, path := range kctx.Path {
		if path.Flag == nil || path.Resolved {
			continue
		}
		if slices.ContainsFunc(path.Flag.Xor, func(group string) bool { return slices.Contains(flag.Xor, group) }) {
			return true
		}
	}
	return false
}

// secretKey is the key whose value is never shown.
const secretKey = "admin-password"

// loadConfig reads a TOML file whose keys are the names of flags. Whatever is
// wrong with it is exitConfig: a mistyped key that is passed over would leave
// the daemon with a default nobody asked for.
func loadConfig(file string, flags []*kong.Flag) (map[string]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fail(exitConfig, "config: %w", err)
	}
	var raw map[string]any
	meta, err := toml.Decode(string(text), &raw)
	if e, ok := errors.AsType[toml.ParseError](err); ok && strings.HasPrefix(e.LastKey, secretKey) {
		// The parser quotes what it found, and its words go to the log.
		err = fmt.Errorf("line %d: the value of %s cannot be read", e.Position.Line, secretKey)
	}
	if err != nil {
		return nil, fail(exitConfig, "config: %s: %w", file, err)
	}
	for _, key := range meta.Keys() {
		known := slices.ContainsFunc(flags, func(f *kong.Flag) bool { return f.Name == key.String() })
		if !known || key.String() == "config" || key.String() == "help" {
			return nil, fail(exitConfig, "config: %s: unknown key %s", file, key)
		}
	}
	values := make(map[string]string, len(raw))
	for key, v := range raw {
		if _, ok := v.(string); !ok && key == secretKey {
			// 0x10 would become 16.
			return nil, fail(exitConfig, "config: %s: %s is not a string", file, key)
		}
		switch v.(type) {
		case string, int64, bool:
			values[key] = fmt.Sprint(v)
		default:
			return nil, fail(exitConfig, "config: %s: %s is neither a string nor a whole number", file, key)
		}
	}
	return values, nil
}
