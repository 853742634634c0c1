package translate

import "testing"

func TestParseFeed(t *testing.T) {
	service, port, ok := ParseFeed(Feed("shop", "chat", 8080))
	if service.Namespace != "shop" || service.Name != "chat" || port != 8080 || !ok {
		t.Errorf("ParseFeed(Feed(shop, chat, 8080)) = %v, %d, %t", service, port, ok)
	}
	for _, feed := range []string{"", "chat", "shop/chat", "shop/chat:", "shop/chat:x", "/chat:80", "shop/:80", "shop/chat:080", "shop/chat:80:80", "shop/chat:4294967376"} {
		if _, _, ok := ParseFeed(feed); ok {
			t.Errorf("ParseFeed(%q) is ok", feed)
		}
	}
}
