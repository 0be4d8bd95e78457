// swift-tools-version: 6.0
import PackageDescription

/// For what waits for people, files or the network: without optimisation it compiles in a quarter of the time, and a board
/// compiles for long.
let unhurried: [SwiftSetting] = [.unsafeFlags(["-Onone"])]

// Arrows of knowledge point downwards only: see docs/ARCHITECTURE.md.
let package = Package(
  name: "edge-lora",
  products: [.executable(name: "edge-lora", targets: ["edge-lora"])],
  targets: [
    .systemLibrary(name: "CZlib"),
    .systemLibrary(name: "CGlibc"),
    .systemLibrary(name: "CCurl"),
    .target(name: "CKernels", cSettings: [.unsafeFlags(["-O3", "-ffp-contract=off", "-fno-math-errno"])]),
    .target(name: "Kernels", dependencies: ["CKernels", "CGlibc"]),
    .target(name: "Randomness"),
    .target(name: "Formats", dependencies: ["CZlib"]),
    .target(name: "Hub", dependencies: ["Formats", "CCurl"], swiftSettings: unhurried),
    .target(name: "Tokenization", dependencies: ["Formats"]),
    .target(name: "Architectures", dependencies: ["Formats"], swiftSettings: unhurried),
    .target(name: "Memory", dependencies: ["CGlibc"]),
    .target(name: "Sensing", swiftSettings: unhurried),
    .target(name: "Reporting", dependencies: ["Formats", "Memory", "Options"], swiftSettings: unhurried),
    .target(name: "Options", dependencies: ["Memory"], swiftSettings: unhurried),
    .target(name: "WeightStore", dependencies: ["Formats", "Kernels", "Architectures"]),
    .target(
      name: "Quantization", dependencies: ["WeightStore", "Tokenization", "Architectures", "Kernels", "Formats"]),
    .target(name: "Transformer", dependencies: ["Kernels", "Architectures", "WeightStore", "Memory"]),
    .target(
      name: "Tuning", dependencies: ["Kernels", "Formats", "Tokenization", "Transformer", "Memory", "Randomness"]),
    .target(name: "Data", dependencies: ["Tokenization", "Formats", "Architectures", "Randomness", "CZlib"]),
    .target(name: "Planning", dependencies: ["Transformer", "Tuning", "Memory", "Formats", "Options"]),
    .target(name: "Metrics", dependencies: ["Data", "Architectures", "Formats"], swiftSettings: unhurried),
    .target(
      name: "Training",
      dependencies: [
        "Planning", "Data", "Tuning", "WeightStore", "Options", "Metrics", "Reporting", "Sensing", "CZlib", "CGlibc",
      ], swiftSettings: unhurried),
    .target(
      name: "Search",
      dependencies: [
        "Training", "Planning", "Transformer", "Tuning", "Reporting", "Architectures", "Options", "Formats",
        "Randomness",
      ], swiftSettings: unhurried),
    .target(
      name: "Advice",
      dependencies: [
        "Training", "Planning", "Data", "Architectures", "Tokenization", "Tuning", "Options", "Formats", "Memory",
      ], swiftSettings: unhurried),
    .target(
      name: "Deployment",
      dependencies: [
        "Quantization", "Transformer", "Tuning", "Data", "Tokenization", "WeightStore", "Randomness", "Metrics",
        "Reporting", "Options",
      ]),
    .target(name: "CMicrohttpd"),
    .target(
      name: "Serving",
      dependencies: [
        "CMicrohttpd", "Deployment", "Data", "Transformer", "Tokenization", "Formats", "Kernels", "Memory",
      ], swiftSettings: unhurried),
    .executableTarget(
      name: "edge-lora",
      dependencies: [
        "Kernels", "Formats", "Tokenization", "Architectures", "WeightStore", "Quantization", "Memory", "Transformer",
        "Tuning", "Data", "Planning", "Training", "Search", "Advice", "Deployment", "Serving", "Reporting", "Options",
        "Hub",
      ], swiftSettings: unhurried),
    .testTarget(name: "KernelsTests", dependencies: ["Kernels", "CKernels", "Formats"], exclude: ["Golden"]),
    .testTarget(name: "FormatsTests", dependencies: ["Formats"], exclude: ["Golden"]),
    .testTarget(name: "HubTests", dependencies: ["Hub", "Formats"]),
    .testTarget(name: "TokenizationTests", dependencies: ["Tokenization", "Formats"], exclude: ["Golden"]),
    .testTarget(name: "ArchitecturesTests", dependencies: ["Architectures", "Formats"], exclude: ["Golden"]),
    .testTarget(name: "MemoryTests", dependencies: ["Memory"]),
    .testTarget(
      name: "WeightStoreTests", dependencies: ["WeightStore", "Quantization", "Architectures", "Formats", "Kernels"],
      resources: [.copy("Golden")]),
    .testTarget(
      name: "TransformerTests",
      dependencies: [
        "Transformer", "Tuning", "Architectures", "WeightStore", "Formats", "Kernels", "Memory", "Randomness",
      ],
      exclude: ["Golden"]),
    .testTarget(
      name: "TuningTests",
      dependencies: ["Tuning", "Transformer", "WeightStore", "Architectures", "Formats", "Kernels", "Memory"]),
    .testTarget(
      name: "DataTests", dependencies: ["Data", "Architectures", "Tokenization", "Formats"], exclude: ["Golden"]),
    .testTarget(
      name: "PlanningTests",
      dependencies: [
        "Planning", "Tuning", "Transformer", "WeightStore", "Architectures", "Formats", "Kernels", "Memory",
      ]),
    .testTarget(
      name: "TrainingTests",
      dependencies: [
        "Training", "Architectures", "Options", "Planning", "Data", "Tuning", "Transformer", "WeightStore", "Formats",
        "Kernels", "Memory",
      ],
      exclude: ["Golden"]),
    .testTarget(
      name: "DeploymentTests",
      dependencies: [
        "Deployment", "Data", "Tuning", "Transformer", "Tokenization", "WeightStore", "Quantization", "Architectures",
        "Formats", "Kernels", "Memory",
      ]),
    .testTarget(name: "ServingTests", dependencies: ["Serving", "Deployment", "Formats", "Tokenization"]),
    .testTarget(
      name: "MetricsTests", dependencies: ["Metrics", "Architectures", "Formats"], exclude: ["Golden"]),
    .testTarget(name: "SearchTests", dependencies: ["Search", "Training", "Formats", "Options"], exclude: ["Golden"]),
    .testTarget(name: "AdviceTests", dependencies: ["Advice", "Architectures", "Formats", "Options", "Planning"]),
    .testTarget(name: "SensingTests", dependencies: ["Sensing"]),
    .testTarget(name: "ReportingTests", dependencies: ["Reporting", "Formats"]),
    .testTarget(name: "OptionsTests", dependencies: ["Options"]),
    .testTarget(name: "CommandTests", dependencies: ["edge-lora", "Formats"]),
  ],
  swiftLanguageModes: [.v6],
  cLanguageStandard: .c11
)

// Where only some tests are wanted, as on emulated processors, the others need not be compiled.
if let wanted = Context.environment["EDGELORA_TESTS"]?.split(separator: ",").map(String.init) {
  package.targets.removeAll { $0.type == .test && !wanted.contains($0.name) }
}
