import Core
import Logging
import Testing

@Suite struct AccessRuleTests {
    private func covers(_ rule: AccessRule, _ method: String, _ path: String, service: String = "image") -> Bool {
        rule.covers(
            CredentialContext(
                method: method, path: path, serviceType: service, requestID: "r", logger: Logger(label: "test")))
    }

    @Test(arguments: [
        ("/v2/images", "/v2/images", true),
        ("/v2/images", "/v2/images/", false),
        ("/v2/images", "/v2/image", false),
        ("/v2/images/*", "/v2/images/1", true),
        ("/v2/images/*", "/v2/images/", false),
        ("/v2/images/*", "/v2/images", false),
        ("/v2/images/*", "/v2/images/1/file", false),
        ("/v2/images/*/file", "/v2/images/1/file", true),
        ("/v2/images/a*", "/v2/images/abc", true),
        ("/v2/images/a*c", "/v2/images/abbc", true),
        ("/v2/images/a*c", "/v2/images/ac", false),
        ("/v2/images/{image_id}", "/v2/images/1", true),
        ("/v2/images/{image_id}", "/v2/images/1/file", false),
        ("/v2/images/{image_id}/members/{member}", "/v2/images/1/members/2", true),
        ("/v2/images/{}", "/v2/images/1", true),
        ("/v2/images/{open", "/v2/images/{open", true),
        ("/v2/images/{open", "/v2/images/1", false),
        ("**", "", true),
        ("**", "/anything/at/all", true),
        ("/v2/**", "/v2/", true),
        ("/v2/**", "/v2/images/1/file", true),
        ("/v2/**", "/v1/images", false),
        ("/v2/**/file", "/v2/images/1/file", true),
        ("/v2/**/file", "/v2/file", false),
        ("/v2**/file", "/v2/file", true),
        ("/v2/***", "/v2/", false),
        ("/v2/***", "/v2/x", true),
        ("/v2/images.x", "/v2/imagesyx", false),
        ("", "", true),
        ("", "/", false),
    ])
    func patternMatchesPath(_ pattern: String, _ path: String, _ expected: Bool) {
        let rule = AccessRule(service: "image", method: "GET", path: pattern)
        #expect(covers(rule, "GET", path) == expected)
    }

    @Test func methodAndServiceAreComparedAsTheyAre() {
        let rule = AccessRule(service: "image", method: "GET", path: "/v2/images")
        #expect(covers(rule, "GET", "/v2/images"))
        #expect(!covers(rule, "HEAD", "/v2/images"))
        #expect(!covers(rule, "get", "/v2/images"))
        #expect(!covers(rule, "GET", "/v2/images", service: "volume"))
    }

    /// A matcher that tries one way after the other would not come back from this.
    @Test func patternsMadeToBeSlowAreNot() {
        let rule = AccessRule(service: "image", method: "GET", path: String(repeating: "**a", count: 40) + "b")
        #expect(!covers(rule, "GET", String(repeating: "a", count: 4000)))
    }
}
