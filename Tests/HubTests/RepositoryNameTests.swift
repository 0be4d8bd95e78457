import Hub
import Testing

struct RepositoryNameTests {
  @Test(arguments: [
    ("owner/name", RepositoryName.Kind.model, "owner/name", "main"), ("gpt2", .model, "gpt2", "main"),
    ("owner/name@v1.0", .model, "owner/name", "v1.0"), ("owner/name@refs/pr/1", .model, "owner/name", "refs/pr/1"),
    ("datasets/owner/name@a", .dataset, "owner/name", "a"), ("models/owner/name", .model, "owner/name", "main"),
    ("https://huggingface.co/owner/name", .model, "owner/name", "main"),
    ("https://hf.co/owner/name/?library=x#y", .model, "owner/name", "main"),
    ("https://huggingface.co/datasets/owner/na.me/tree/refs%2Fpr%2F1", .dataset, "owner/na.me", "refs/pr/1"),
    ("hf://datasets/owner/name", .dataset, "owner/name", "main"),
  ])
  func whatPeopleWriteIsUnderstood(text: String, kind: RepositoryName.Kind, path: String, revision: String) throws {
    let name = try RepositoryName(text)
    #expect(name.kind == kind && name.path == path && name.revision == revision)
  }

  @Test(arguments: [
    "", "/", "a/", "/a", "a/b/c", "../b", "a/..", "a/.b", "-a/b", "a b/c", "a/b@", "a/b@..", "a/b@x y", "a//b",
    "https://huggingface.co", "https://huggingface.co/", "https://huggingface.co/a/b/c/d", "a/b\n", "a/é",
    "datasets/a/b/c",
  ])
  func whatNamesNoRepositoryIsRefused(text: String) {
    #expect(throws: RepositoryName.Invalid.self) { try RepositoryName(text) }
  }

  @Test func pathsOfThisMachineAreNotMeantAsRepositories() {
    for path in ["model", "./owner/name", "../owner/name", "/a/b", "a/b/c", "~/a"] {
      #expect(RepositoryName.meant(by: path) == nil, "\(path)")
    }
    #expect(RepositoryName.meant(by: "owner/name")?.text == "owner/name")
    #expect(RepositoryName.meant(by: "https://huggingface.co/owner/name/tree/v2")?.text == "owner/name@v2")
  }
}
