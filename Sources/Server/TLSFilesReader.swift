import NIOSSL

/// Reads the certificate and the key that TLS needs.
enum TLSFilesReader {
    /// - Throws: `StartProblem` that names the setting: a file that cannot be read, is not PEM, or a
    ///   key that is not the certificate's.
    static func configuration(_ files: ServerSettings.TLSFiles) throws -> TLSConfiguration {
        let chain: [NIOSSLCertificate]
        do {
            chain = try NIOSSLCertificate.fromPEMBytes(try SmallFile.read(files.certificate))
        } catch {
            throw problem("tls.certificate", files.certificate, error, "it holds no certificate in PEM")
        }
        let key: NIOSSLPrivateKey
        do {
            key = try NIOSSLPrivateKey(bytes: try SmallFile.read(files.key), format: .pem)
        } catch {
            throw problem("tls.key", files.key, error, "it holds no private key in PEM (without a passphrase)")
        }
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["http/1.1"]
        do {
            _ = try NIOSSLContext(configuration: configuration)
        } catch {
            throw StartProblem("tls.key: \(files.key) is not the key of \(files.certificate)")
        }
        return configuration
    }

    private static func problem(
        _ setting: String, _ path: String, _ error: any Error, _ otherwise: String
    ) -> StartProblem {
        StartProblem(error is FileProblem ? "\(setting): \(error)" : "\(setting): \(path): \(otherwise)")
    }
}
