// swift-tools-version: 6.0
import PackageDescription

// Arrows of knowledge point downwards only: see docs/ARCHITECTURE.md.
let package = Package(
  name: "edge-lora",
  products: [.executable(name: "edge-lora", targets: ["edge-lora"])],
  targets: [
    .systemLibrary(name: "CZlib"),
    .systemLibrary(name: "CGlibc"),
    .target(name: "CKernels", cSettings: [.unsafeFlags(["-O3", "-ffp-contract=off", "-fno-math-errno"])]),
    .target(name: "Kernels", dependencies: ["CKernels", "CGlibc"]),
    .target(name: "Formats", dependencies: ["CZlib"]),
    .target(name: "Tokenization", dependencies: ["Formats"]),
    .target(name: "WeightStore", dependencies: ["Formats", "Kernels", "Tokenization"]),
    .target(name: "Memory", dependencies: ["CGlibc"]),
    .target(name: "Transformer", dependencies: ["Kernels", "WeightStore", "Memory"]),
    .target(name: "Adapters", dependencies: ["Kernels", "Formats", "Transformer"]),
    .target(
      name: "Training",
      dependencies: ["Transformer", "Adapters", "Tokenization", "WeightStore", "Memory", "CZlib"]),
    .target(name: "Deployment", dependencies: ["Training", "Transformer", "Adapters", "Tokenization", "WeightStore"]),
    .executableTarget(
      name: "edge-lora",
      dependencies: [
        "Kernels", "Formats", "Tokenization", "WeightStore", "Memory", "Transformer", "Adapters", "Training",
        "Deployment",
      ]),
    .testTarget(name: "KernelsTests", dependencies: ["Kernels", "CKernels", "Formats"], exclude: ["Golden"]),
    .testTarget(name: "FormatsTests", dependencies: ["Formats"], exclude: ["Golden"]),
    .testTarget(name: "TokenizationTests", dependencies: ["Tokenization", "Formats"], exclude: ["Golden"]),
    .testTarget(
      name: "WeightStoreTests", dependencies: ["WeightStore", "Formats", "Kernels"], resources: [.copy("Golden")]),
    .testTarget(
      name: "TransformerTests",
      dependencies: ["Transformer", "Adapters", "WeightStore", "Formats", "Kernels", "Memory"],
      exclude: ["Golden"]),
    .testTarget(name: "MemoryTests", dependencies: ["Memory"]),
    .testTarget(name: "DeploymentTests", dependencies: ["Deployment"]),
    .testTarget(
      name: "TrainingTests",
      dependencies: [
        "Training", "Adapters", "Transformer", "Tokenization", "WeightStore", "Formats", "Kernels",
        "Memory",
      ],
      exclude: ["Golden"]),
  ],
  swiftLanguageModes: [.v6],
  cLanguageStandard: .c11
)
